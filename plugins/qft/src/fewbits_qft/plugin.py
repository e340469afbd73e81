"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def algorithms() -> list[Component]:
    """Offer the algorithm; its module is imported when a recipe uses it."""
    return [
        Component(
            kind="algorithm",
            name="qft",
            summary="Finetunes all of a quantized network at once, the float network its teacher",
            target="fewbits_qft.algorithm:Qft",
        )
    ]
