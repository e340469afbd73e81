"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def evaluators() -> list[Component]:
    """Offer the evaluators; their modules are imported when they are used."""
    return []
