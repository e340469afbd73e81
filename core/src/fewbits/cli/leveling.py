"""Which recipe a command runs: steps that were named, or what the levels come to; and saying so."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fewbits.cli.flags import Levels, Run
from fewbits.errors import UsageError

if TYPE_CHECKING:
    from fewbits.choosing import Choice
    from fewbits.cli.common import Session
    from fewbits.data import Dataset
    from fewbits.model import Model
    from fewbits.recipe import Recipe


@dataclass(frozen=True)
class Prepared:
    """What runs on what.

    Args:
        recipe: the steps.
        calibration: the samples; None for none.
        choice: the levels behind the steps; None where the steps were named.
    """

    recipe: "Recipe"
    calibration: "Dataset | None"
    choice: "Choice | None" = None


def named_recipe(steps: Sequence[str] | None, file: Path | None, levels: Levels) -> "Recipe | None":
    """Return the recipe of `-p` or of `--recipe`; None when there is neither.

    Raises:
        UsageError: more than one of them and the levels say what runs.
        RecipeError: it is not of the right form.
    """
    from fewbits.recipe import Recipe, parse_step

    if steps and file is not None:
        raise UsageError(
            "-p and --recipe both say which steps to run.",
            hint="Put all steps into the file, or all behind -p.",
        )
    if (steps or file is not None) and levels.given:
        raise UsageError(
            f"{'-p' if steps else '--recipe'} and the levels both say which steps to run.",
            hint="Give one of them; `fewbits describe level 2` prints a level's steps to change.",
        )
    if file is not None:
        return Recipe.load(file)
    return Recipe(tuple(map(parse_step, steps))) if steps else None


def prepare(
    session: "Session", model: "Model", named: "Recipe | None", levels: Levels, run: Run
) -> Prepared:
    """Check the recipe, open the calibration data, and find what the levels come to.

    What was lowered is said as a warning.

    Raises:
        FewbitsError: the recipe cannot run, a level's need is not met, the data cannot be opened.
    """
    from fewbits import runner
    from fewbits.choosing import choose
    from fewbits.cli.source import open_data

    if named is not None:
        calibrated = run.calib_path is not None
        runner.check(model, named, session.registry, calibrated=calibrated)
        return Prepared(named, open_data(session, run.calib_path, model, run.calib_count))
    calibration = open_data(session, run.calib_path, model, run.calib_count)
    choice = choose(
        model,
        registry=session.registry,
        images=None if calibration is None else len(calibration),
        optimization=levels.optimization_level,
        compression=levels.compression_level,
        allow_downgrade=levels.allow_downgrade,
    )
    for line in choice.warnings():
        session.warn(line)
    return Prepared(choice.recipe, calibration, choice)


def announce(prepared: Prepared, *, stderr: bool = False) -> None:
    """Say which levels run, and why no better ones where nobody named them."""
    from fewbits.cli import render

    for line in prepared.choice.lines() if prepared.choice is not None else ():
        if stderr:
            render.note(line)
        else:
            render.text(line)
