r"""The values of options as they are typed behind `-p`: numbers, words, strings, lists, maps.

    value  = list | map | string | word
    list   = "[" [value {"," value}] "]"
    map    = "{" [key ":" value {"," key ":" value}] "}"      key = string | word without ":"
    string = 'taken as it stands' | "with \n, \" and \u00e9 as in JSON"
    word   = characters other than , [ ] { } ' " and space

A word that reads as a number or as `true`/`false` is one; every other word is a string, so
`2:4` and `a8_w4` need no quotes.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

_WORD = re.compile(r"[^,\[\]{}'\"\s]+")
_KEY_WORD = re.compile(r"[^,\[\]{}'\"\s:]+")
_INTEGER = re.compile(r"[+-]?\d(_?\d)*", re.ASCII)
_FLOAT = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|nan)", re.ASCII | re.IGNORECASE)
_STRING = re.compile(r"'([^']*)'|(\"(?:[^\"\\]|\\.)*\")")
_SPACE = re.compile(r"\s*")
_DEEPEST = 32


class MalformedError(ValueError):
    """The text is no value; `position` is where reading stopped."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class Scanner:
    """Reads values from a text, left to right.

    Args:
        text: what was typed.
        position: where to begin.
    """

    def __init__(self, text: str, position: int = 0) -> None:
        self.text = text
        self.position = position
        self._depth = 0
        self._skip_space()

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return self.position == len(self.text)

    def take(self, symbol: str) -> bool:
        """Step over `symbol` if it comes next."""
        if not self.text.startswith(symbol, self.position):
            return False
        self.position += len(symbol)
        self._skip_space()
        return True

    def expect(self, symbol: str) -> None:
        """Step over `symbol`; raise MalformedError if something else comes next."""
        if not self.take(symbol):
            raise self.malformed(f"'{symbol}'")

    def malformed(self, wanted: str) -> MalformedError:
        """Return the error that says what was wanted here."""
        found = f"'{self.text[self.position]}'" if not self.finished else "the end"
        return MalformedError(f"expected {wanted}, found {found}", self.position)

    def match(self, pattern: re.Pattern[str], wanted: str) -> re.Match[str]:
        """Step over what `pattern` matches; raise MalformedError if it does not."""
        found = pattern.match(self.text, self.position)
        if found is None:
            raise self.malformed(wanted)
        self.position = found.end()
        self._skip_space()
        return found

    def value(self) -> Any:
        """Read one value."""
        following = self.text[self.position : self.position + 1]
        if following == "[":
            return self._nested(self._list)
        if following == "{":
            return self._nested(self._map)
        if following and following in "'\"":
            return self._string()
        return _plain(self.match(_WORD, "a value").group())

    def _nested(self, read: Callable[[], Any]) -> Any:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise MalformedError(f"nested more than {_DEEPEST} deep", self.position)
        found = read()
        self._depth -= 1
        return found

    def _list(self) -> list[Any]:
        self.expect("[")
        items: list[Any] = []
        while not self.take("]"):
            if items:
                self.expect(",")
            items.append(self.value())
        return items

    def _map(self) -> dict[str, Any]:
        self.expect("{")
        items: dict[str, Any] = {}
        while not self.take("}"):
            if items:
                self.expect(",")
            key = self._key()
            if key in items:
                raise MalformedError(f"'{key}' is given twice", self.position)
            self.expect(":")
            items[key] = self.value()
        return items

    def _key(self) -> str:
        if self.text[self.position : self.position + 1] in ("'", '"'):
            return self._string()
        return self.match(_KEY_WORD, "a key").group()

    def _string(self) -> str:
        start = self.position
        found = self.match(_STRING, "a string with its closing quote")
        if found.group(1) is not None:
            return found.group(1)
        try:
            return str(json.loads(found.group(2), strict=False))
        except ValueError as error:
            raise MalformedError(
                "a string with an escape that JSON does not know", start
            ) from error

    def _skip_space(self) -> None:
        found = _SPACE.match(self.text, self.position)
        self.position = found.end() if found else self.position


def _plain(word: str) -> Any:
    if word in ("true", "false"):
        return word == "true"
    if _INTEGER.fullmatch(word):
        return int(word)
    return float(word) if _FLOAT.fullmatch(word) else word


def normal(value: Any) -> Any:
    """Return `value` built of bool, int, float, str, list and dict alone.

    >>> normal((1, {"a": (2,)}))
    [1, {'a': [2]}]

    Raises:
        TypeError: it holds something else.
    """
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [normal(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: normal(item) for key, item in value.items()}
    raise TypeError(f"{value!r} is no number, true or false, word, list or map")


def format_value(value: Any) -> str:
    """Write a normal value as `-p` reads it.

    >>> format_value({"/head/*": "a8_w8", "skip": [1, 2.5, True, "two words"]})
    "{/head/*: a8_w8, skip: [1, 2.5, true, 'two words']}"
    """
    if isinstance(value, dict):
        items = (f"{_format_key(key)}: {format_value(item)}" for key, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(format_value(item) for item in value) + "]"
    if isinstance(value, str):
        bare = _WORD.fullmatch(value) and isinstance(_plain(value), str)
        return value if bare else _quoted(value)
    return json.dumps(value) if isinstance(value, bool) else _format_number(value)


def _format_key(key: str) -> str:
    return key if _KEY_WORD.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    return f"'{text}'" if "'" not in text and text.isprintable() else json.dumps(text)


def _format_number(value: float) -> str:
    return str(value) if isinstance(value, int) or not math.isfinite(value) else repr(value)


def format_toml(value: Any) -> str:
    """Write a normal value as TOML, maps as inline tables.

    >>> format_toml({"/head/*": "a8_w8", "bits": [4, 8]})
    '{ "/head/*" = "a8_w8", bits = [4, 8] }'
    """
    if isinstance(value, dict):
        items = (f"{toml_key(key)} = {format_toml(item)}" for key, item in value.items())
        return "{ " + ", ".join(items) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(format_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return _toml_string(value)
    return json.dumps(value) if isinstance(value, bool) else _format_number(value)


def toml_key(key: str) -> str:
    """Write a TOML key, quoted where it must be."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_string(key)


def _toml_string(text: str) -> str:
    # JSON and TOML agree on escapes, except that TOML also wants DEL escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
