"""From what users wish to what runs: named steps, a script or levels; edits; samples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fewbits import runner
from fewbits.choosing import Choice, choose
from fewbits.data import Dataset
from fewbits.edits import before_samples
from fewbits.errors import UsageError
from fewbits.interfaces import Script, ScriptReader, Target
from fewbits.levels import DEFAULTS, level
from fewbits.model import Model
from fewbits.opening import Data, open_data
from fewbits.planning import create
from fewbits.recipe import Recipe, Step

if TYPE_CHECKING:
    from fewbits.plugins import Registry


@dataclass(frozen=True)
class Wish:
    """What is to be done to a model, as users say it.

    Args:
        recipe: the steps, where they are named; else levels say them, which a script may change.
        script: a script of another tool.
        lenient: leave out lines of the script that are not known, with a warning each.
        optimization_level: -100, or 0 to 4; None for the script's, or the best that can run.
        compression_level: 0 to 5; None for the script's, or 0.
        allow_downgrade: where a level's need is not met, go on with what is there.
        edits: steps that edit the network's ends; they go behind those that the recipe begins
            with, so that they are nearer to where the samples come in.
        for_speed: whether the device's compiler is to work for speed.
    """

    recipe: Recipe | None = None
    script: Path | None = None
    lenient: bool = False
    optimization_level: int | None = None
    compression_level: int | None = None
    allow_downgrade: bool = False
    edits: Sequence[Step] = ()
    for_speed: bool = False


@dataclass(frozen=True)
class Prepared:
    """What runs on what.

    Args:
        recipe: the steps.
        samples: what they calibrate on; None for none.
        choice: the levels behind the steps; None where the steps were named.
        left_out: what a script says and is left out, a line each.
    """

    recipe: Recipe
    samples: Dataset | None
    choice: Choice | None = None
    left_out: Sequence[str] = ()

    def warnings(self) -> list[str]:
        """Return one line for each thing that was lowered or left out."""
        return [*self.left_out, *([] if self.choice is None else self.choice.warnings())]


def prepare(
    model: Model,
    wish: Wish,
    *,
    registry: "Registry",
    target: Target,
    calibration: Data | None = None,
    count: int | None = None,
) -> Prepared:
    """Check what was wished for, open the samples, and find what the levels come to.

    Args:
        model: where the steps start.
        wish: what to do.
        registry: the plugins.
        target: the hardware target.
        calibration: unlabelled samples.
        count: how many of them to take, from the start.

    Raises:
        FewbitsError: the recipe cannot run, a script cannot be read, a level's need is not met,
            the samples cannot be opened.
    """
    script = None if wish.script is None else read_script(model, wish, registry, target)
    outline = _finished(_outline(wish, script), wish, registry, target)
    if wish.recipe is not None:
        runner.check(model, outline, registry, calibrated=calibration is not None)
    taker = before_samples(model, outline, registry)
    samples = None
    if calibration is not None:
        samples = open_data(calibration, taker, registry, count, labelled=False)
    if wish.recipe is not None:
        return Prepared(outline, samples)
    choice = choose(
        model,
        registry=registry,
        images=None if samples is None else len(samples),
        optimization=wish.optimization_level,
        compression=wish.compression_level,
        allow_downgrade=wish.allow_downgrade,
        script=script,
    )
    recipe = _finished(choice.recipe, wish, registry, target)
    said = () if script is None else tuple(script.warnings)
    return Prepared(recipe, samples, replace(choice, recipe=recipe), said)


def _outline(wish: Wish, script: Script | None) -> Recipe:
    """Return the recipe as far as its edits are concerned, which are the same for any level."""
    if wish.recipe is not None:
        return wish.recipe
    if script is None:
        return Recipe()
    asked = (wish.optimization_level, script.optimization_level, DEFAULTS[-1])
    optimization = next(number for number in asked if number is not None)
    return script.adapt(level(optimization, script.compression_level or 0).recipe)


def _finished(recipe: Recipe, wish: Wish, registry: "Registry", target: Target) -> Recipe:
    """Return the recipe with the edits that were wished for, and with the setting for speed."""
    first = 0
    for step in recipe.steps if wish.edits else ():
        if not create(step.use, step.options, registry).algorithm.edits:
            break
        first += 1
    steps = (*recipe.steps[:first], *wish.edits, *recipe.steps[first:])
    edited = replace(recipe, steps=steps)
    return target.for_speed(edited) if wish.for_speed else edited


def is_script(path: str | Path, registry: "Registry") -> bool:
    """Say whether a path is that of a script which an installed plugin reads."""
    suffix = Path(path).suffix.lower()
    return bool(suffix) and suffix in _readers(registry)


def read_script(model: Model, wish: Wish, registry: "Registry", target: Target) -> Script:
    """Read a script of another tool.

    Raises:
        UsageError: no installed plugin reads files with that ending.
        RecipeError: a line cannot be read or done; with line, column and remedy.
    """
    assert wish.script is not None
    readers = _readers(registry)
    suffix = wish.script.suffix.lower()
    if suffix not in readers:
        raise UsageError(
            f"No installed plugin reads the script {wish.script}.",
            hint=f"Endings that are read: {', '.join(sorted(readers)) or 'none'}; .alls takes pip"
            " install fewbits-hailo.",
        )
    reader: ScriptReader = registry.create("script", readers[suffix], {})
    return reader.read(wish.script, model, target, lenient=wish.lenient)


def _readers(registry: "Registry") -> dict[str, str]:
    """Return ending → the script reader that claims it."""
    names = [each.component.name for each in registry.components("script")]
    return {
        suffix.lower(): name for name in names for suffix in registry.load("script", name).suffixes
    }
