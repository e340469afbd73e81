"""What this distribution offers to fewbits."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def algorithms() -> list[Component]:
    """Offer the algorithm."""
    return [
        Component(
            kind="algorithm",
            name="equalization",
            summary="Rescales channels in full precision, so that one scale fits them all",
            target="fewbits_equalization.algorithm:Equalization",
        )
    ]
