"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def algorithms() -> list[Component]:
    """Offer the algorithm; its module is imported when a recipe uses it."""
    return [
        Component(
            kind="algorithm",
            name="adaround",
            summary="Learns for each weight whether to round up or down, layer by layer (torch)",
            target="fewbits_adaround.algorithm:AdaRound",
        )
    ]
