"""A statement held against the table: its row, its options as plain values, and its faults."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fewbits_hailo.script.rows import Command, Option, Use
from fewbits_hailo.script.syntax import Argument, Statement, Text, Word, write_value
from fewbits_hailo.script.table import BY_NAME


@dataclass(frozen=True)
class Fault:
    """What is wrong with a statement.

    Args:
        text: what, a clause.
        hint: the remedy.
        line: where.
        column: where.
    """

    text: str
    hint: str
    line: int
    column: int


class UnfitError(Exception):
    """An option that a statement gives does not fit the network or the other options."""

    def __init__(self, option: str, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.option = option
        self.text = text
        self.hint = hint


@dataclass(frozen=True)
class Said:
    """What a statement says.

    Args:
        statement: as it was read.
        command: its row; None if there is none.
        values: option → plain value, of those that do something here.
        given: option → the argument, of all.
        kept: arguments that the compiler is to get.
        faults: what is wrong.
        broken: whether a value cannot be read, so that the rest may not mean what it says.
    """

    statement: Statement
    command: Command | None
    values: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Argument] = field(default_factory=dict)
    kept: tuple[Argument, ...] = ()
    faults: tuple[Fault, ...] = ()
    broken: bool = False

    def fault(self, error: UnfitError) -> Fault:
        """Return the fault that a handler found, at the option's place."""
        place = self.given.get(error.option)
        where = (place.line, place.column) if place else _place(self.statement)
        return Fault(error.text, error.hint, *where)


def understand(statement: Statement) -> Said:
    """Find a statement's row and read its options by it; nothing is raised."""
    rows = BY_NAME.get(statement.command)
    if rows is None:
        text = f"there is no command '{statement.command}'"
        return _not_understood(statement, text, _near(statement.command, BY_NAME))
    if "" in rows:
        return _read(statement, rows[""], statement.arguments)
    first = statement.arguments[0] if statement.arguments else None
    features = ", ".join(rows)
    if first is None or first.key or not isinstance(first.value, Word | Text):
        text = f"{statement.command} begins with what it is about"
        return _not_understood(statement, text, f"One of: {features}.")
    row = rows.get(first.value.text)
    if row is None:
        text = f"{statement.command} has no '{first.value.text}'"
        fault = Fault(text, _near(first.value.text, rows), first.line, first.column)
        return Said(statement, None, faults=(fault,))
    return _read(statement, row, statement.arguments[1:])


def _not_understood(statement: Statement, text: str, hint: str) -> Said:
    return Said(statement, None, faults=(Fault(text, hint, *_place(statement)),))


def _read(statement: Statement, row: Command, arguments: tuple[Argument, ...]) -> Said:
    if row.open and not row.options:
        return Said(statement, row, kept=arguments)
    count = sum(not each.key for each in arguments)
    form = next((form for form in row.forms if len(form) == count), None)
    if form is None:
        counts = " or ".join(str(len(each)) for each in row.forms)
        wrong = f"{row.title} takes {counts} values without a name, and {count} are given"
        shapes = " or ".join(f"({', '.join(each)})" for each in row.forms)
        fault = Fault(wrong, f"It takes {shapes}.", *_place(statement))
        return Said(statement, row, faults=(fault,), broken=True)
    names = iter(form)
    given = [each if each.key else replace(each, key=next(names)) for each in arguments]
    said = Said(statement, row, given={each.key: each for each in given})
    for each in given:
        said = _with_option(said, row, each)
    return said


def _with_option(said: Said, row: Command, given: Argument) -> Said:
    option = row.known.get(given.key)
    if option is None and row.open:
        return replace(said, kept=(*said.kept, given))
    if option is None:
        text = f"{row.title} has no option '{given.key}'"
        return _faulty(said, given, text, _near(given.key, row.known))
    try:
        value = option.kind.read(given.value)
    except ValueError:
        shown = write_value(given.value)
        text = f"option '{option.name}' is {shown}: it must be {option.kind.wanted}"
        hint = _remedy(option) if option.use is Use.REFUSED else ""
        return replace(_faulty(said, given, text, hint), broken=True)
    if option.use is Use.REFUSED and value not in option.harmless:
        text = f"option '{option.name}' of {row.title} is not done here"
        return _faulty(said, given, text, _remedy(option))
    if option.use is Use.COMPILER:
        return replace(said, kept=(*said.kept, given))
    if option.use in (Use.NOTHING, Use.REFUSED):
        return said
    return replace(said, values={**said.values, option.name: value})


def _faulty(said: Said, given: Argument, text: str, hint: str) -> Said:
    return replace(said, faults=(*said.faults, Fault(text, hint, given.line, given.column)))


def _remedy(option: Option) -> str:
    return f"{option.here[:1].upper()}{option.here[1:]}." if option.here else ""


def _place(statement: Statement) -> tuple[int, int]:
    return statement.line, statement.column


def _near(word: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(names)}." if len(names) < 20 else "See docs/hailo-scripts.md."


def lines_of(faults: Iterable[Fault]) -> Iterator[str]:
    """Yield each fault with its place, as one says it."""
    for fault in faults:
        yield f"line {fault.line}, column {fault.column}: {fault.text}"
