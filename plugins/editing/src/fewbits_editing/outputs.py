"""The steps `output_activation` and `logits`."""

from fewbits.errors import ModelError
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage

from fewbits_editing.options import LogitsOptions, OutputActivationOptions


class OutputActivation(Algorithm):
    """Edits the network's outputs."""

    name = "output_activation"
    stage = Stage.OPTIMIZED
    Options = OutputActivationOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the edited model."""
        raise ModelError(f"Step '{self.name}' cannot run in this version.", hint="Update fewbits.")


class Logits(Algorithm):
    """Edits the network's outputs."""

    name = "logits"
    stage = Stage.OPTIMIZED
    Options = LogitsOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the edited model."""
        raise ModelError(f"Step '{self.name}' cannot run in this version.", hint="Update fewbits.")
