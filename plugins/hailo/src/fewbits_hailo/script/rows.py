"""What a row of the table of commands holds."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fewbits_hailo.script.kinds import Kind

#: where a row comes from.
ZOO = "Hailo's public model zoo"
GUIDE = "public descriptions of the Dataflow Compiler"
SECOND_HAND = "second-hand"


class Use(StrEnum):
    """What becomes of a command or of an option here."""

    LEVEL = "level"
    STEP = "recipe step"
    EDIT = "network edit"
    NOTHING = "changes nothing here"
    COMPILER = "kept for the compiler"
    REFUSED = "not done here"


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Args:
        name: as it stands in a script.
        kind: what it may say.
        use: what becomes of it.
        here: in words; for REFUSED the remedy.
        harmless: for REFUSED, values that ask for nothing but what is done here anyway.
        second_hand: whether what it means is known at second hand only.
    """

    name: str
    kind: Kind
    use: Use = Use.STEP
    here: str = ""
    harmless: tuple[Any, ...] = ()
    second_hand: bool = False


@dataclass(frozen=True)
class Command:
    """A command, or one feature of a command whose first argument names a feature.

    Args:
        name: the command.
        use: what becomes of it as a whole.
        here: what it does here, in words; for REFUSED the remedy.
        feature: its first argument, where that names one.
        forms: for each number of further arguments without a name, the options that they are.
        options: all options.
        source: where this is known from.
        second_hand: whether the command itself is known at second hand only.
        open: whether it takes options that are not listed, which are kept as they are.
        keeps: whether leniency keeps what is not done here for the compiler; what became a step
            here is switched off there, so that options of it would turn it on again.
    """

    name: str
    use: Use
    here: str
    feature: str = ""
    forms: tuple[tuple[str, ...], ...] = ((),)
    options: tuple[Option, ...] = ()
    source: str = GUIDE
    second_hand: bool = False
    open: bool = False
    keeps: bool = True
    known: dict[str, Option] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.known.update({option.name: option for option in self.options})

    @property
    def title(self) -> str:
        """The command with its feature, as it is spoken of."""
        return f"{self.name}({self.feature}, …)" if self.feature else f"{self.name}(…)"
