"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def algorithms() -> list[Component]:
    """Offer the algorithms; their modules are imported when a recipe uses them."""
    return [
        Component(
            kind="algorithm",
            name="pruning",
            summary="Sets weights to zero, by ratio or N:M; the others make up for them (OBS)",
            target="fewbits_pruning.algorithm:Pruning",
        ),
    ]
