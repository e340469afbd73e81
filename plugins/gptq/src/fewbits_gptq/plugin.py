"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def algorithms() -> list[Component]:
    """Offer the algorithm; its module is imported when a recipe uses it."""
    return [
        Component(
            kind="algorithm",
            name="gptq",
            summary="Rounds weights in turn, each error taken up by the weights behind it (GPTQ)",
            target="fewbits_gptq.algorithm:Gptq",
        )
    ]
