"""Layers by name or glob, as options give them."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from fewbits.errors import RecipeError, nearest


def matched(globs: Sequence[str], names: Collection[str], step: str) -> set[str]:
    """Return the names that any of the globs matches; a name matches itself, `*` may match none.

    Args:
        globs: names or globs.
        names: of the layers that there are.
        step: who asks, for messages.

    Raises:
        RecipeError: a glob matches no layer; the hint names the nearest.

    >>> sorted(matched(["conv*", "fc"], ["conv1", "conv2", "fc", "head"], "ibc"))
    ['conv1', 'conv2', 'fc']
    """
    found: set[str] = set()
    for glob in globs:
        hits = {name for name in names if name == glob or fnmatchcase(name, glob)}
        if not hits and glob != "*":
            raise RecipeError(
                f"step '{step}': no layer matches '{glob}'.", hint=nearest(glob, names)
            )
        found |= hits
    return found
