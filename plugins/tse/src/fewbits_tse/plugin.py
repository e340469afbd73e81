"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def algorithms() -> list[Component]:
    """Offer `tse`."""
    return [
        Component(
            kind="algorithm",
            name="tse",
            summary="Tiled squeeze-and-excite: averages strips of rows, not whole maps",
            target="fewbits_tse.algorithm:TiledSqueezeExcite",
        )
    ]
