"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def algorithms() -> list[Component]:
    """Offer clipping of activations and of weights."""
    return [
        Component(
            kind="algorithm",
            name="activation_clipping",
            summary="Clips layers' outputs to percentiles of the calibration values, or to bounds",
            target="fewbits_clipping.activations:ActivationClipping",
        ),
        Component(
            kind="algorithm",
            name="weight_clipping",
            summary="Clips layers' weights to percentiles, to bounds, or to the least error",
            target="fewbits_clipping.weights:WeightClipping",
        ),
    ]
