"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def targets() -> list[Component]:
    """Offer the components; their modules are imported when they are used."""
    return []
