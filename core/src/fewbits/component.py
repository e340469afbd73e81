"""A light description of something a plugin offers, imported only when it is used."""

import importlib
from dataclasses import dataclass
from typing import Any

KINDS = (
    "frontend",
    "algorithm",
    "quantizer",
    "evaluator",
    "target",
    "dataset",
    "model",
    "script",
    "command",
)


@dataclass(frozen=True, slots=True)
class Component:
    """What a plugin's hook returns: a name and where to find the object behind it.

    Args:
        kind: one of `KINDS`.
        name: what users type (`equalization` in `-p equalization`); lower case, no spaces.
        summary: one line for `fewbits list`.
        target: `module:attribute`; for a command, a Typer app; for the other kinds, a
            subclass of the interface in `fewbits.interfaces`.
    """

    kind: str
    name: str
    summary: str
    target: str

    def load(self) -> Any:
        """Import `target` and return the object it names.

        Raises:
            ImportError, AttributeError: as the import raises them; the registry turns them
                into a PluginError that names the plugin.
        """
        module, _, attribute = self.target.partition(":")
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found
