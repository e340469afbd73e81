"""Layers picked by name or glob, as users type them."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from fewbits.errors import RecipeError, nearest


def matching(names: Iterable[str], globs: Sequence[str], *, step: str) -> set[str]:
    """Return the names that any of the globs matches; a name matches itself.

    Args:
        names: what there is.
        globs: names, or globs of shell style; `*` may match nothing.
        step: the step whose option it is, for the message.

    Raises:
        RecipeError: a glob matches nothing; the hint names the nearest.

    >>> sorted(matching(["conv1", "conv2", "head"], ["conv*"], step="qft"))
    ['conv1', 'conv2']
    """
    known = list(names)
    found: set[str] = set()
    for glob in globs:
        matched = {name for name in known if name == glob or fnmatchcase(name, glob)}
        if not matched and glob != "*":
            raise RecipeError(
                f"step '{step}': no layer matches '{glob}'.", hint=nearest(glob, known)
            )
        found |= matched
    return found
