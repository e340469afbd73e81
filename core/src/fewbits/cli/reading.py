"""What the texts behind the options mean that say how a network is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewbits.errors import UsageError

if TYPE_CHECKING:
    from fewbits.preprocess import Preprocess

_NAME_LISTS = ("--start-node-names", "--end-node-names")
_SHAPE_HINT = "Write 1x3x48x192; with several inputs, the name in front: x=1x3x48x192."


def split_names(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names in `texts`, each of which may hold several with commas between.

    >>> split_names(["a,b", "c"])
    ('a', 'b', 'c')
    """
    names = (name.strip() for text in texts or () for name in text.split(","))
    return tuple(name for name in names if name)


def spread_names(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with names that stand behind one `--end-node-names` each under its own.

    Names may be listed with blanks between; the list ends at the next option or at a file.

    >>> spread_names(["net.onnx", "--end-node-names", "a", "b", "--json"])
    ['net.onnx', '--end-node-names', 'a', '--end-node-names', 'b', '--json']
    """
    spread: list[str] = []
    option = before = ""
    for word in arguments:
        if word.startswith("-"):
            option = word if word in _NAME_LISTS else ""
        elif before != option:  # not the first name, which has its option already
            option = "" if Path(word).is_file() else option
            spread.extend([option] if option else [])
        spread.append(word)
        before = word
    return spread


def parse_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]] | tuple[int, ...]:
    """Return input name → shape, or just the shape where no name was given.

    Raises:
        UsageError: a text is not of the form `[NAME=]1x3x48x192`, or it is not clear which
            input is meant.

    >>> parse_shapes(["x=1x3x48x192"]), parse_shapes(["3x48x192"])
    ({'x': (1, 3, 48, 192)}, (3, 48, 192))
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, _, numbers = text.rpartition("=")
        sides = [side.strip() for side in numbers.replace(",", "x").split("x")]
        if not all(side.isdecimal() and int(side) > 0 for side in sides):
            raise UsageError(f"--input-shape '{text}' is no shape.", hint=_SHAPE_HINT)
        if name in shapes or (shapes and "" in (name, *shapes)):
            raise UsageError("--input-shape: which input is meant?", hint=_SHAPE_HINT)
        shapes[name] = tuple(map(int, sides))
    return shapes.get("", shapes)


def read_preprocess(text: str | None) -> "Preprocess | None":
    """Return the preprocessing that `text` describes; None for no text."""
    if text is None:
        return None
    from fewbits.preprocess import parse_preprocess

    return parse_preprocess(text)
