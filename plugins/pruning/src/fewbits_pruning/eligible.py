"""Which layers `pruning` takes, and the reasons why it leaves others alone."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from fewbits.errors import RecipeError, nearest
from fewbits.graph import Layer, layers
from fewbits.layermatrix import weight_shape
from fewbits.model import Model

from fewbits_pruning.options import PruningOptions
from fewbits_pruning.selection import Pattern


def left_alone(model: Model, options: PruningOptions) -> dict[str, str]:
    """Return layer name → reason why it is not pruned.

    Raises:
        RecipeError: a glob matches no layer.
    """
    found = list(layers(model.graph))
    names = [layer.name for layer in found]
    wanted = _matching(options.layers, names) if options.layers else set(names)
    excluded = _matching(options.exclude, names)
    reasons = {layer.name: _reason(layer, model, options) for layer in found}
    reasons |= dict.fromkeys(excluded, "excluded by the option exclude")
    rest = dict.fromkeys(set(names) - wanted, "not among the layers of the option layers")
    return {name: reason for name, reason in (reasons | rest).items() if reason}


def input_channels(layer: Layer) -> int:
    """Return the number of input channels of each group."""
    shape = weight_shape(layer)
    if layer.op_type == "ConvTranspose":
        return shape[0] // layer.groups
    return shape[1 - layer.weight_axis]


def _reason(layer: Layer, model: Model, options: PruningOptions) -> str:
    inputs = input_channels(layer)
    if options.pattern is not None:
        run = Pattern.parse(options.pattern).run
        if inputs % run:
            return f"{inputs} input channels per group are no multiple of {run}"
    if options.layers or options.small:
        return ""
    if layer.groups > 1 and inputs == 1:
        return "depthwise; small=true prunes it"
    if layer.input.name in model.input_names:
        return "it reads a network input; small=true prunes it"
    return ""


def _matching(globs: Sequence[str], names: Sequence[str]) -> set[str]:
    """Return the names that globs match.

    Raises:
        RecipeError: one of them matches none.
    """
    found: set[str] = set()
    for glob in globs:
        matched = {name for name in names if name == glob or fnmatchcase(name, glob)}
        if not matched:
            raise RecipeError(
                f"step 'pruning': no layer matches '{glob}'.", hint=nearest(glob, names)
            )
        found |= matched
    return found
