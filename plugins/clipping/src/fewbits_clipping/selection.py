"""Layers by glob."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import onnx_ir as ir
from fewbits.errors import RecipeError, nearest
from fewbits.graph import layers


def selected(graph: ir.Graph, globs: Sequence[str], step: str) -> set[str]:
    """Return the names of the layers that any of the globs matches; a name matches itself.

    Raises:
        RecipeError: a glob other than `*` matches no layer; the hint names the nearest.
    """
    names = [layer.name for layer in layers(graph)]
    found: set[str] = set()
    for glob in globs:
        matched = {name for name in names if name == glob or fnmatchcase(name, glob)}
        if not matched and glob != "*":
            raise RecipeError(
                f"step '{step}': no layer matches '{glob}'.", hint=nearest(glob, names)
            )
        found |= matched
    return found
