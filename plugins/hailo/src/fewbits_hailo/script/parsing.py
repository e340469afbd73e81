"""Reads model scripts: text → statements, every error with line and column."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, NoReturn

from fewbits.errors import RecipeError

from fewbits_hailo.script.syntax import (
    CONSTANTS,
    INTEGER,
    NUMBER,
    Argument,
    Glob,
    Statement,
    Text,
    Value,
    Word,
    is_word,
)

#: everything falls under one of these; `bad` is what belongs to no script.
_TOKEN = re.compile(
    r"""(?P<word>[\w./:+\-@]+)|(?P<sign>[(),=\[\]])|(?P<line>\r\n|\n|\r)|(?P<space>[^\S\r\n]+)
    |(?P<comment>\#[^\r\n]*)|(?P<glob>\{[^{}"'\r\n]*\})
    |(?P<text>"(?:[^"\\\r\n]|\\.)*"|'(?:[^'\\\r\n]|\\.)*')|(?P<bad>.)""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"""\\([\\"'])""")
_BLANK = frozenset({"space", "comment"})
_DEEPEST = 16
_LONGEST_NUMBER = 300
_FORM = "A line reads [name =] command(value, key=value); lists stand in [ ], globs in { }."


class _Token(NamedTuple):
    """A piece of the script: its kind, its text and where it begins."""

    kind: str
    text: str
    start: int


def load(path: Path) -> str:
    """Return a script's text.

    Raises:
        RecipeError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RecipeError(
            f"The model script {path} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"The model script {path} is no text.", hint="A model script is text in UTF-8."
        ) from error


def parse(text: str, *, source: str = "model script") -> tuple[Statement, ...]:
    """Read a script.

    >>> statement, = parse("c1, c2 = defuse(net/conv1, 2)  # halves")
    >>> statement.names, statement.command, statement.arguments[0].value
    (('c1', 'c2'), 'defuse', Word(text='net/conv1'))

    Args:
        text: the script.
        source: where it came from, for messages.

    Raises:
        RecipeError: it is none; says line, column, what stands there and what was expected.
    """
    return _Parser(text, source).script()


class _Parser:
    """Goes through the tokens once, left to right."""

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._tokens = self._split()
        self._at = 0
        self._starts = [0, *(m.end() for m in re.finditer(r"\r\n|\n|\r", text))]
        self._line = 0

    def script(self) -> tuple[Statement, ...]:
        statements: list[Statement] = []
        while self._tokens[self._at].kind != "end":
            if self._tokens[self._at].kind == "line":
                self._at += 1
            else:
                statements.append(self._statement())
        return tuple(statements)

    def _split(self) -> list[_Token]:
        tokens = [
            _Token(found.lastgroup or "", found[0], found.start())
            for found in _TOKEN.finditer(self._text)
            if found.lastgroup not in _BLANK
        ]
        return [*tokens, _Token("end", "", len(self._text))]

    def _statement(self) -> Statement:
        first = self._tokens[self._at]
        words = [self._word("a command or a name")]
        while self._take(","):
            words.append(self._word("a name"))
        names: tuple[str, ...] = ()
        if len(words) > 1 or self._tokens[self._at].text == "=":
            self._expect("=", "'=' behind the names")
            names = tuple(words)
            words = [self._word("a command")]
        line, column = self._place(first.start)
        self._expect("(", f"'(' behind '{words[0]}'")
        arguments = self._arguments()
        if self._tokens[self._at].kind not in ("line", "end"):
            self._fail("the end of the line")
        return Statement(names, words[0], arguments, line, column)

    def _arguments(self) -> tuple[Argument, ...]:
        """Read up to and with the closing parenthesis; lines may end anywhere within."""
        found: list[Argument] = []
        keys: set[str] = set()
        self._skip_lines()
        while not self._take(")"):
            if found:
                self._expect(",", "',' or ')'")
                self._skip_lines()
                if self._take(")"):
                    break
            found.append(self._argument(keys))
            self._skip_lines()
        return tuple(found)

    def _argument(self, keys: set[str]) -> Argument:
        token = self._tokens[self._at]
        line, column = self._place(token.start)
        if token.kind == "word" and self._tokens[self._at + 1].text == "=":
            key = self._word("an option's name")
            if key in keys:
                self._fail_at(token, f"option '{key}' is given twice")
            self._at += 1
            self._skip_lines()
            keys.add(key)
            return Argument(key, self._value(0), line, column)
        if keys:
            self._fail("an option with its name, as one came before it")
        return Argument("", self._value(0), line, column)

    def _value(self, depth: int) -> Value:
        token = self._tokens[self._at]
        if token.kind == "word":
            self._at += 1
            return self._plain(token)
        if token.text == "[" and token.kind == "sign":
            self._at += 1
            return self._list(token, depth + 1)
        if token.kind == "glob":
            self._at += 1
            return Glob(token.text[1:-1].strip())
        if token.kind == "text":
            self._at += 1
            return Text(_ESCAPE.sub(r"\1", token.text[1:-1]))
        self._fail("a value")

    def _list(self, opening: _Token, depth: int) -> tuple[Value, ...]:
        if depth > _DEEPEST:
            self._fail_at(opening, f"lists are nested more than {_DEEPEST} deep")
        values: list[Value] = []
        self._skip_lines()
        while not self._take("]"):
            if values:
                self._expect(",", "',' or ']'")
                self._skip_lines()
                if self._take("]"):
                    break
            values.append(self._value(depth))
            self._skip_lines()
        return tuple(values)

    def _plain(self, token: _Token) -> Value:
        text = token.text
        if text[0] in "0123456789+-." and NUMBER.fullmatch(text):
            if len(text) > _LONGEST_NUMBER:
                self._fail_at(token, f"a number of {len(text)} characters is too long")
            number = int(text) if INTEGER.fullmatch(text) else float(text)
            if number in (float("inf"), float("-inf")):
                self._fail_at(token, f"the number {text} is too large")
            return number
        return CONSTANTS[text] if text in CONSTANTS else Word(text)

    def _word(self, wanted: str) -> str:
        token = self._tokens[self._at]
        if token.kind != "word" or not is_word(token.text):
            self._fail(wanted)
        self._at += 1
        return token.text

    def _take(self, sign: str) -> bool:
        token = self._tokens[self._at]
        if token.text != sign or token.kind != "sign":
            return False
        self._at += 1
        return True

    def _expect(self, sign: str, wanted: str) -> None:
        if not self._take(sign):
            self._fail(wanted)

    def _skip_lines(self) -> None:
        while self._tokens[self._at].kind == "line":
            self._at += 1

    def _place(self, position: int) -> tuple[int, int]:
        """Return line and column of a position that does not lie before the last one asked for."""
        starts = self._starts
        while self._line + 1 < len(starts) and starts[self._line + 1] <= position:
            self._line += 1
        return self._line + 1, position - starts[self._line] + 1

    def _fail(self, wanted: str) -> NoReturn:
        token = self._tokens[self._at]
        fault = _unclosed(token)
        self._fail_at(token, fault or f"expected {wanted}, found {_shown(token)}")

    def _fail_at(self, token: _Token, fault: str) -> NoReturn:
        self._line = 0
        line, column = self._place(token.start)
        raise RecipeError(f"{self._source}, line {line}, column {column}: {fault}.", hint=_FORM)


def _unclosed(token: _Token) -> str:
    if token.kind == "bad" and token.text in "\"'":
        return "a string begins here and does not end on its line"
    if token.kind == "bad" and token.text == "{":
        return "a glob begins here and does not end on its line"
    return ""


def _shown(token: _Token) -> str:
    if token.kind in ("line", "end"):
        return "the end of the line" if token.kind == "line" else "the end of the script"
    text = token.text if len(token.text) <= 40 else f"{token.text[:40]}…"
    return f"'{text}'" if text.isprintable() else repr(text)


def words(values: Iterable[Value]) -> tuple[str, ...]:
    """Return what words and strings say."""
    return tuple(each.text for each in values if isinstance(each, Word | Text))
