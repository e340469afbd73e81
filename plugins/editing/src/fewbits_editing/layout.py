"""The step `input_layout`."""

from fewbits.errors import ModelError
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage

from fewbits_editing.options import InputLayoutOptions


class InputLayout(Algorithm):
    """Edits the network's inputs."""

    name = "input_layout"
    stage = Stage.OPTIMIZED
    Options = InputLayoutOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the edited model."""
        raise ModelError(f"Step '{self.name}' cannot run in this version.", hint="Update fewbits.")
