"""What a plugin writes to read the optimization scripts of another tool."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fewbits.configurable import Configurable
from fewbits.model import Model
from fewbits.targets import Target

if TYPE_CHECKING:
    from fewbits.recipe import Recipe


class Script(ABC):
    """What an optimization script of another tool comes to for one model.

    `optimization_level`, `compression_level` and `seed` are what it names, None where it names
    none; `warnings` are the lines that were left out because the user asked for leniency.
    """

    optimization_level: int | None = None
    compression_level: int | None = None
    seed: int | None = None
    warnings: Sequence[str] = ()

    @abstractmethod
    def adapt(self, recipe: "Recipe") -> "Recipe":
        """Return what the script makes of the recipe that the levels stand for.

        Raises:
            RecipeError: the script and the recipe do not go together; says which line.
        """


class ScriptReader(Configurable, ABC):
    """Reads optimization scripts of another tool; `suffixes` are the endings, with the dot."""

    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def read(self, path: Path, model: Model, target: Target, *, lenient: bool = False) -> Script:
        """Read a script.

        Args:
            path: the script.
            model: the network that it is for; layers are looked up in it.
            target: the hardware target, which knows its own names of the layers.
            lenient: leave out what is not known or cannot be done here, with a warning per line.

        Raises:
            RecipeError: a line that cannot be read or done; with line, column and remedy.
        """
