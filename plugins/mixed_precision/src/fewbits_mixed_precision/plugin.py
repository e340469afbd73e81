"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def quantizers() -> list[Component]:
    """Offer the quantizer; its module is imported when a recipe uses it."""
    return [
        Component(
            kind="quantizer",
            name="mixed_precision",
            summary="Bits for each layer: 4 where the outputs hardly notice, 16 where they do",
            target="fewbits_mixed_precision.algorithm:MixedPrecision",
        )
    ]
