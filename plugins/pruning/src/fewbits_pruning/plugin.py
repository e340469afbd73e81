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
        Component(
            kind="algorithm",
            name="dead_channels",
            summary="Takes out channels that are always zero and channels that nobody reads",
            target="fewbits_pruning.dead:DeadChannels",
        ),
        Component(
            kind="algorithm",
            name="static_channels",
            summary="Zeroes channels that never change on the data; biases take up their constant",
            target="fewbits_pruning.static:StaticChannels",
        ),
    ]
