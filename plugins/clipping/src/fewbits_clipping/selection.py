"""What both algorithms begin with: calibration data, and layers by glob."""

from collections.abc import Sequence

from fewbits.graph import layers
from fewbits.interfaces import Context
from fewbits.model import Model
from fewbits.selection import matched


def chosen_layers(model: Model, context: Context, globs: Sequence[str], step: str) -> set[str]:
    """Return the names of the layers that any of the globs matches; a name matches itself.

    Args:
        model: the network.
        context: has the calibration data.
        globs: names or globs.
        step: the algorithm's name.

    Raises:
        DataError: there is no calibration data.
        RecipeError: a glob other than `*` matches no layer; the hint names the nearest.
    """
    context.need_calibration(f"Step '{step}'")
    return matched(globs, [layer.name for layer in layers(model.graph)], step)
