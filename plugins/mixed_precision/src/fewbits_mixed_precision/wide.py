"""Which layers get 16 bits: those whose noise falls most for each weight that is widened."""

from collections.abc import Callable, Mapping

from fewbits.errors import TargetError
from fewbits.interfaces import Context
from fewbits.model import Precision

Modes = Mapping[str, Precision]


def wide_mode(context: Context) -> Precision:
    """Return the target's widest mode with 16-bit activations.

    Raises:
        TargetError: it has none.
    """
    found = [p for p in context.target.spec.precisions if p.activation_bits == 16]
    if not found:
        raise TargetError(
            f"Target {context.target.name} has no mode with 16-bit activations.",
            hint="Leave ratio_16bit out, or choose another target.",
        )
    return max(found, key=lambda mode: mode.weight_bits)


def widened(
    modes: Modes,
    gains: Mapping[str, float],
    weights: Mapping[str, int],
    mode: Precision,
    limit: float,
    spread: Callable[[Modes], Modes],
) -> dict[str, Precision]:
    """Return modes with some layers widened, by the noise that each weight takes away.

    A layer whose widening would exceed the limit, with what it binds, is passed over, and so is
    one that the target cannot widen.

    Args:
        modes: node name → mode.
        gains: layer → noise at the outputs that goes when it is widened.
        weights: layer → number of weights, of every layer.
        mode: what widened layers get.
        limit: weights of widened layers together, at most.
        spread: what widening some layers does to others on this target.
    """
    found = dict(modes)
    for name in sorted(gains, key=lambda name: -gains[name] / weights[name]):
        try:
            tried = dict(spread({**found, name: mode}))
        except TargetError:
            continue
        wide = sum(count for layer, count in weights.items() if tried[layer].activation_bits == 16)
        if gains[name] > 0.0 and wide <= limit + 1e-6:
            found = tried
    return found
