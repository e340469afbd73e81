"""The step `input_conversion`."""

from fewbits.errors import ModelError
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage

from fewbits_editing.options import InputConversionOptions


class InputConversion(Algorithm):
    """Edits the network's inputs."""

    name = "input_conversion"
    stage = Stage.OPTIMIZED
    Options = InputConversionOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the edited model."""
        raise ModelError(f"Step '{self.name}' cannot run in this version.", hint="Update fewbits.")
