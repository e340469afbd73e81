"""Recipe and step: what is done to a model, in which order, with which options."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewbits.errors import RecipeError, nearest
from fewbits.values import MalformedError, Scanner, format_toml, format_value, normal, toml_key

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*")
_FORM = "Write NAME or NAME:key=value,key=value; quote values that hold spaces, commas or brackets."


@dataclass(frozen=True)
class Step:
    """One step of a recipe.

    Args:
        use: the component's name.
        options: its options as the user gave them, of bool, int, float, str, list and dict.

    Raises:
        RecipeError: a name or a value is of a form that no recipe can hold.
    """

    use: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.use):
            raise RecipeError(f"'{self.use}' cannot be the name of a step.", hint=_FORM)
        for key in self.options:
            if not _OPTION.fullmatch(key) or key == "use":
                raise RecipeError(
                    f"Step '{self.use}': '{key}' cannot be the name of an option.", hint=_FORM
                )
        try:
            object.__setattr__(self, "options", normal(self.options))
        except TypeError as error:
            raise RecipeError(f"Step '{self.use}': {error}.", hint=_FORM) from error

    def __str__(self) -> str:
        pairs = ",".join(f"{key}={format_value(value)}" for key, value in self.options.items())
        return f"{self.use}:{pairs}" if pairs else self.use


def parse_step(text: str) -> Step:
    """Read a step as it is typed behind `-p`.

    >>> parse_step("quantize:precision=a8_w4,layers={'/head/*': a8_w8}")
    Step(use='quantize', options={'precision': 'a8_w4', 'layers': {'/head/*': 'a8_w8'}})
    >>> parse_step("pruning:pattern=2:4").options
    {'pattern': '2:4'}

    Raises:
        RecipeError: the text is not of that form; the message says where.
    """
    use, colon, _ = text.partition(":")
    try:
        options = _read_options(Scanner(text, len(use) + 1)) if colon else {}
    except MalformedError as error:
        raise RecipeError(
            f"Step '{text}': {error} at character {error.position + 1}.", hint=_FORM
        ) from error
    return Step(use.strip(), options)


def _read_options(scanner: Scanner) -> dict[str, Any]:
    options: dict[str, Any] = {}
    while True:
        start = scanner.position
        key = scanner.match(_OPTION, "an option's name").group()
        if key in options:
            raise MalformedError(f"option '{key}' is given twice", start)
        scanner.expect("=")
        options[key] = scanner.value()
        if scanner.finished:
            return options
        scanner.expect(",")


@dataclass(frozen=True)
class Recipe:
    """Steps in the order in which they run.

    Args:
        steps: the steps.
        level: the levels it stands for and what was lowered, for the provenance; empty where the
            steps were named. It is no part of what recipes are compared by, nor of the TOML.
    """

    steps: tuple[Step, ...] = ()
    level: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def from_toml(cls, text: str, *, source: str = "recipe") -> "Recipe":
        """Read `[[step]]` tables: `use` names the component, the other keys are its options.

        Args:
            text: the TOML.
            source: where it came from, for messages.

        Raises:
            RecipeError: not TOML (the message has line and column), or not a recipe.
        """
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise RecipeError(
                f"{source} is not TOML: {error}.", hint="See docs/recipes.md for an example."
            ) from error
        for key in document:
            if key != "step":
                raise RecipeError(f"{source}: unknown key '{key}'.", hint=nearest(key, ["step"]))
        tables = document.get("step", [])
        if not isinstance(tables, list) or not tables:
            raise RecipeError(f"{source} holds no steps.", hint="Write [[step]] and use = 'NAME'.")
        return cls(tuple(_from_table(t, f"{source}: step {i}") for i, t in enumerate(tables, 1)))

    def to_toml(self) -> str:
        """Write the recipe as TOML; `from_toml` reads the same recipe back.

        >>> print(Recipe((Step("tse"), Step("quantize", {"precision": "a8_w4"}))).to_toml())
        [[step]]
        use = "tse"
        <BLANKLINE>
        [[step]]
        use = "quantize"
        precision = "a8_w4"
        <BLANKLINE>
        """
        return "\n".join(_to_table(step) for step in self.steps)

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """Read a TOML file.

        Raises:
            RecipeError: it cannot be read, or is no recipe.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise RecipeError(
                f"Recipe {path} cannot be read: {error.strerror}.", hint="Check the path."
            ) from error
        except UnicodeDecodeError as error:
            raise RecipeError(
                f"Recipe {path} is not a text file.", hint="A recipe is TOML in UTF-8."
            ) from error
        return cls.from_toml(text, source=str(path))

    def save(self, path: str | Path) -> None:
        """Write a TOML file, atomically."""
        from fewbits.atomic import write_bytes

        write_bytes(Path(path), self.to_toml().encode())


def _from_table(table: Any, place: str) -> Step:
    if not isinstance(table, dict) or not isinstance(table.get("use"), str):
        raise RecipeError(f"{place} does not say what to use.", hint='Add use = "NAME".')
    options = {key: value for key, value in table.items() if key != "use"}
    try:
        return Step(table["use"], options)
    except RecipeError as error:
        raise RecipeError(f"{place}: {error.message}", hint=error.hint) from error


def _to_table(step: Step) -> str:
    lines = [f"{toml_key(key)} = {format_toml(value)}" for key, value in step.options.items()]
    return "\n".join(["[[step]]", f"use = {format_toml(step.use)}", *lines, ""])
