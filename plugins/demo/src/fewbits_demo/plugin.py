"""What this distribution offers to fewbits."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def models() -> list[Component]:
    """Offer the embedded network."""
    return [
        Component(
            kind="model",
            name="digits",
            summary="Handwritten digits, 8×8 pixels: a small CNN that comes with its data",
            target="fewbits_demo.digits:Digits",
        )
    ]


@hookimpl
def commands() -> list[Component]:
    """Offer `fewbits demo`."""
    return [
        Component(
            kind="command",
            name="demo",
            summary="Take the embedded network through the whole flow and print the figures",
            target="fewbits_demo.command:app",
        )
    ]
