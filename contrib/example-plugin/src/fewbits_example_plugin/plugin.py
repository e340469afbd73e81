"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def algorithms() -> list[Component]:
    """Offer one algorithm; its module is imported when a recipe uses it."""
    return [
        Component(
            kind="algorithm",
            name="clip-weights",
            summary="Clips each layer's outlying weights to a number of standard deviations",
            target="fewbits_example_plugin.algorithm:ClipWeights",
        )
    ]
