"""From levels to the recipe that runs: what a level needs is held against what is there.

Nothing is lowered unless the user allows it, and then each thing that was lowered is named.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fewbits.errors import DataError, FewbitsError, RecipeError
from fewbits.levels import (
    DEFAULTS,
    HOMES,
    IMAGES,
    OPTIMIZATION,
    TRAINING,
    UNTRAINED,
    VARYING,
    Level,
    level,
)
from fewbits.model import Model, Stage
from fewbits.planning import create
from fewbits.recipe import Recipe, Step

if TYPE_CHECKING:
    from fewbits.plugins import Registry


@dataclass(frozen=True)
class Unmet:
    """A need that is not met.

    Args:
        what: the need and what is there instead, a clause.
        remedy: what the user can do, a clause.
    """

    what: str
    remedy: str


@dataclass(frozen=True)
class Choice:
    """The recipe that two levels come to here.

    Args:
        level: the levels.
        recipe: what runs; it remembers all that is said here.
        reasons: why no better level was taken, where nobody named one.
        lowered: what was lowered, where the user allowed it.
    """

    level: Level
    recipe: Recipe
    reasons: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return which levels run, as which steps, and why no better one does."""
        steps = ", ".join(step.use for step in self.recipe.steps)
        return [f"{self.level.name.capitalize()}: {steps}", *self.reasons]

    def warnings(self) -> list[str]:
        """Return one line for each thing that was lowered."""
        return [f"{self.level.name} is lowered: {each}" for each in self.lowered]


def choose(
    model: Model,
    *,
    registry: "Registry",
    images: int | None,
    optimization: int | None = None,
    compression: int | None = None,
    allow_downgrade: bool = False,
) -> Choice:
    """Return the recipe for the levels asked for.

    Args:
        model: where it starts, in full precision.
        registry: the installed plugins.
        images: how many calibration images there are; None for no data.
        optimization: the optimization level; None takes the best of 2, 1, 0 that can run.
        compression: the compression level; None is 0.
        allow_downgrade: whether to go on with what is there where a need is not met.

    Raises:
        UsageError: there is no such level.
        DataError: there is no calibration data.
        RecipeError: the model is quantized already; or a need is not met, which the message names
            with the remedy.
    """
    compressed = compression or 0
    asked = level(DEFAULTS[0] if optimization is None else optimization, compressed)
    _check_start(model, images)
    count = images or 0
    if optimization is None:
        return _default(compressed, registry, count, allow_downgrade)
    faults = unmet(asked, registry, count)
    if not faults:
        return Choice(asked, asked.recipe)
    if not allow_downgrade:
        raise _refusal(asked, faults, registry, count)
    return lowered(asked, registry, count)


def _check_start(model: Model, images: int | None) -> None:
    if model.stage.rank >= Stage.QUANTIZED.rank:
        raise RecipeError(
            f"{model.name} is already {model.stage}, and a level begins in full precision.",
            hint="Name the steps to go on with (-p ibc), or add --restart to begin from the parsed"
            " network.",
        )
    if images is None:
        raise DataError(
            "A level needs calibration data, and none was given.",
            hint="Add --calib-path with a folder of images or an npy/npz file.",
        )


def _default(compression: int, registry: "Registry", images: int, allow: bool) -> Choice:
    """Return the best level that can run, and why those above it cannot."""
    reasons: list[str] = []
    for optimization in DEFAULTS:
        found = level(optimization, compression)
        faults = unmet(found, registry, images)
        if not faults:
            return _explained(Choice(found, found.recipe), reasons)
        remedies = "; ".join(fault.remedy for fault in faults)
        why = "; ".join(fault.what for fault in faults)
        reasons.append(f"Not optimization level {optimization}: {why} ({remedies}).")
    last = level(DEFAULTS[-1], compression)
    if not allow and unmet_by_quantizer(last, registry):
        raise _refusal(last, unmet(last, registry, images), registry, images)
    return _explained(lowered(last, registry, images), reasons)


def _explained(choice: Choice, reasons: list[str]) -> Choice:
    record = {**choice.recipe.level, "default": True, "reasons": list(reasons)}
    return replace(choice, recipe=replace(choice.recipe, level=record), reasons=tuple(reasons))


def unmet(asked: Level, registry: "Registry", images: int) -> list[Unmet]:
    """Return every need of a level that is not met here; plugins are imported only at the end."""
    faults = list(_few_images(asked, images))
    absent = [fault for step in asked.steps if (fault := _absent(step, registry))]
    if faults or absent:
        return [*absent, *faults]
    return [fault for step in asked.steps if (fault := _broken(step, registry))]


def missing(step: Step, registry: "Registry") -> Unmet | None:
    """Return what keeps a step from running here: plugin, torch, or what its import says."""
    return _absent(step, registry) or _broken(step, registry)


def _few_images(asked: Level, images: int) -> Iterator[Unmet]:
    if images < asked.images:
        yield Unmet(
            f"it needs {asked.images} calibration images, and there are {images}",
            f"give {asked.images} with --calib-path",
        )


def _absent(step: Step, registry: "Registry") -> Unmet | None:
    """Find out, without importing it, whether the step's plugin and torch are there."""
    if step.use == "quantize":
        return None
    home = HOMES[step.use]
    try:
        registry.step(step.use)
    except FewbitsError as error:
        if all(record.distribution != home for record in registry.records):
            return Unmet(f"step '{step.use}' is not installed", f"run pip install {home}")
        return Unmet(_clause(error.message), "see `fewbits doctor`")
    if step.use in TRAINING and find_spec("torch") is None:
        return Unmet(
            f"step '{step.use}' needs torch, which is not installed",
            "run pip install 'fewbits[qft]'",
        )
    return None


def _broken(step: Step, registry: "Registry") -> Unmet | None:
    try:
        create(step.use, step.options, registry)
    except FewbitsError as error:
        return Unmet(_clause(error.message), _clause(error.hint) or "see `fewbits doctor`")
    return None


def _clause(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")


def unmet_by_quantizer(asked: Level, registry: "Registry") -> list[Unmet]:
    """Return what keeps a compression level from running: its quantizer."""
    quantizers = [s for s in asked.steps if s.use in ("quantize", "mixed_precision")]
    return [fault for step in quantizers if (fault := missing(step, registry))]


def _refusal(asked: Level, faults: list[Unmet], registry: "Registry", images: int) -> RecipeError:
    """Return the error that names needs, remedies and the ways on."""
    ways = [*dict.fromkeys(f"{fault.remedy[:1].upper()}{fault.remedy[1:]}." for fault in faults)]
    below = _highest_below(asked, registry, images)
    if below is not None:
        ways.append(f"Or take --optimization-level {below}, which can run here.")
    ways.append("Or add --allow-downgrade to go on with what is there.")
    what = "; ".join(fault.what for fault in faults)
    return RecipeError(f"{asked.name.capitalize()} cannot run: {what}.", hint=" ".join(ways))


def _highest_below(asked: Level, registry: "Registry", images: int) -> int | None:
    for optimization in sorted(OPTIMIZATION, reverse=True):
        if optimization < asked.optimization:
            below = level(optimization, asked.compression)
            if not unmet(below, registry, images):
                return optimization
    return None


def lowered(asked: Level, registry: "Registry", images: int) -> Choice:
    """Return the level's recipe made of what is there, and everything that was lowered.

    A step that cannot run is left out; bias correction takes the place of training; a quantizer
    that cannot run gives way to 8 bits for all; a step looks at as many images as there are.
    """
    steps: list[Step] = []
    said: list[str] = []
    for step in asked.steps:
        fault = missing(step, registry)
        kept, note = (step, "") if fault is None else _instead(step, fault, asked, registry)
        kept, fewer = _with_images(kept, images)
        said += [text for text in (note, fewer) if text]
        steps += [kept] if kept is not None and kept not in steps else []
    record: dict[str, Any] = asked.record(lowered=said)
    return Choice(asked, Recipe(tuple(steps), level=record), lowered=tuple(said))


def _instead(
    step: Step, fault: Unmet, asked: Level, registry: "Registry"
) -> tuple[Step | None, str]:
    if step.use == "mixed_precision":
        plain = level(asked.optimization, 0).steps
        kept = next(each for each in plain if each.use == "quantize")
        return kept, f"compression level {asked.compression} is 0, all in 8 bits: {fault.what}."
    if step.use in TRAINING and missing(UNTRAINED, registry) is None:
        return UNTRAINED, f"'{UNTRAINED.use}' takes the place of '{step.use}': {fault.what}."
    return None, f"'{step.use}' is left out: {fault.what}."


def _with_images(step: Step | None, images: int) -> tuple[Step | None, str]:
    wanted = 0 if step is None else int(step.options.get(IMAGES, 0))
    if step is None or wanted <= images:
        return step, ""
    if step.use in VARYING:
        return step, f"'{step.use}' varies {images} calibration images in place of {wanted}."
    fewer = Step(step.use, {**step.options, IMAGES: images})
    return fewer, f"'{step.use}' looks at {images} calibration images, not at {wanted}."
