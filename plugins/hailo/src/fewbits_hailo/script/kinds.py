"""What an option of a script may say, and the plain value that it means."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fewbits_hailo.script.syntax import Glob, Text, Value, Word


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Args:
        wanted: what is wanted, for messages: `a whole number`.
        read: returns the plain value; raises ValueError where it is of another kind.
    """

    wanted: str
    read: Callable[[Value], Any]


def _integer(value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    return value


def _number(value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _numbers(value: Value) -> tuple[float, ...]:
    if not isinstance(value, tuple):
        raise ValueError
    return tuple(_number(each) for each in value)


def _integers(value: Value) -> tuple[int, ...]:
    if not isinstance(value, tuple):
        raise ValueError
    return tuple(_integer(each) for each in value)


def _word(value: Value) -> str:
    if not isinstance(value, Word | Text):
        raise ValueError
    return value.text


def _words(value: Value) -> tuple[str, ...]:
    return tuple(map(_word, value)) if isinstance(value, tuple) else (_word(value),)


def _switch(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    if value in (Word("enabled"), Word("disabled")):
        return value == Word("enabled")
    raise ValueError


def _selector(value: Value) -> Value:
    parts = value if isinstance(value, tuple) else (value,)
    if not parts or not all(isinstance(part, Word | Text | Glob) for part in parts):
        raise ValueError
    return value


def _pair(value: Value) -> tuple[float, float]:
    found = _numbers(value)
    if len(found) != 2:
        raise ValueError
    return found[0], found[1]


def _sizes(value: Value) -> tuple[int, int]:
    found = _integers(value)
    if len(found) != 2 or min(found) < 1:
        raise ValueError
    return found[0], found[1]


def _same(value: Value) -> Value:
    return value


INTEGER = Kind("a whole number", _integer)
NUMBER = Kind("a number", _number)
NUMBERS = Kind("a list of numbers", _numbers)
RANGE = Kind("a list of two numbers", _pair)
SIZES = Kind("a list of two sizes", _sizes)
WORD = Kind("a word", _word)
WORDS = Kind("a list of words", _words)
SWITCH = Kind("enabled, disabled, True or False", _switch)
LAYERS = Kind("a layer, a glob in braces, or a list of them", _selector)
ANY = Kind("any value", _same)


def one_of(*words: str) -> Kind:
    """Return the kind of words among these."""

    def read(value: Value) -> str:
        found = _word(value)
        if found not in words:
            raise ValueError
        return found

    return Kind(" or ".join(words), read)


POLICY = one_of("enabled", "disabled", "allowed")
