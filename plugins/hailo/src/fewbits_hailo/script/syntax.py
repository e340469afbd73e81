"""What a model script is made of: statements, arguments, values; and how they are written.

    statement = [name {"," name} "="] word "(" [argument {"," argument} [","]] ")"
    argument  = [word "="] value
    value     = number | True | False | None | word | string | glob | list
    list      = "[" [value {"," value} [","]] "]"
    glob      = "{" anything but braces, quotes and line ends "}"

Places are no part of what is compared, so that a script that was written reads back equal.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

#: a word, and what may stand in one; `.`, `:`, `/` and `-` so that names of ONNX nodes fit.
WORD = re.compile(r"[\w./:+\-@]+")
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
#: words that are values.
CONSTANTS = {"True": True, "False": False, "None": None}


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word: a layer's name, `enabled`, `a8_w4`."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A string in quotes."""

    text: str


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern in braces, the braces left out: `conv*`."""

    pattern: str


Value = int | float | bool | None | Word | Text | Glob | tuple["Value", ...]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command.

    Args:
        key: its name; empty for a positional one.
        value: what is said.
        line: where it begins, from 1.
        column: likewise, from 1.
    """

    key: str
    value: Value
    line: int = field(default=0, compare=False)
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Statement:
    """One command.

    Args:
        names: what stands before the `=`: new layers' names.
        command: the command.
        arguments: positional ones first.
        line: where it begins, from 1.
        column: likewise, from 1.
    """

    names: tuple[str, ...]
    command: str
    arguments: tuple[Argument, ...]
    line: int = field(default=0, compare=False)
    column: int = field(default=0, compare=False)

    @property
    def positional(self) -> tuple[Argument, ...]:
        """The arguments without a name."""
        return tuple(each for each in self.arguments if not each.key)

    @property
    def named(self) -> dict[str, Argument]:
        """The others by name; the parser sees to it that none comes twice."""
        return {each.key: each for each in self.arguments if each.key}


def write(statements: Iterable[Statement]) -> str:
    r"""Return the script, one statement a line; `parse` reads the same statements back.

    >>> line = Statement(("n",), "normalization", (Argument("", (0.0, 1)), Argument("", (255,))))
    >>> write([line])
    'n = normalization([0.0, 1], [255])\n'
    """
    return "".join(f"{write_statement(each)}\n" for each in statements)


def write_statement(statement: Statement) -> str:
    """Return one statement as one line."""
    names = f"{', '.join(statement.names)} = " if statement.names else ""
    return f"{names}{statement.command}({', '.join(_arguments(statement))})"


def _arguments(statement: Statement) -> Iterator[str]:
    for each in statement.arguments:
        yield f"{each.key}={write_value(each.value)}" if each.key else write_value(each.value)


def write_value(value: Value) -> str:
    """Return a value as a script writes it.

    >>> write_value((Word("net/conv1"), Glob("conv*"), True, 0.5, Text("a.json")))
    '[net/conv1, {conv*}, True, 0.5, "a.json"]'
    """
    if isinstance(value, tuple):
        return f"[{', '.join(map(write_value, value))}]"
    if isinstance(value, Word):
        return value.text
    if isinstance(value, Glob):
        return f"{{{value.pattern}}}"
    if isinstance(value, Text):
        return '"' + value.text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number of a script")
    return repr(value)


def is_word(text: str) -> bool:
    """Whether a bare word says just this, and no number or constant."""
    return (
        WORD.fullmatch(text) is not None
        and text not in CONSTANTS
        and NUMBER.fullmatch(text) is None
    )
