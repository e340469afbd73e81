"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def algorithms() -> list[Component]:
    """Offer the algorithm; its module is imported when a recipe uses it."""
    return [
        Component(
            kind="algorithm",
            name="ibc",
            summary="Corrects biases layer by layer, so that no output's mean is off (IBC)",
            target="fewbits_ibc.algorithm:Ibc",
        )
    ]
