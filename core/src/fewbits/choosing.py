"""From levels to the recipe that runs: what a level needs is held against what is there.

Nothing is lowered unless the user allows it, and then each thing that was lowered is named.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fewbits.errors import DataError, RecipeError
from fewbits.levels import (
    COUNTS,
    DEFAULTS,
    OPTIMIZATION,
    TRAINING,
    UNTRAINED,
    VARYING,
    Level,
    level,
)
from fewbits.model import Model, Stage
from fewbits.needs import Unmet, missing, unmet, unmet_by_quantizer
from fewbits.recipe import Recipe, Step

if TYPE_CHECKING:
    from fewbits.interfaces import Script
    from fewbits.plugins import Registry

#: options of quantizers that say which bits to give; the others hold for any quantizer.
_BITS = frozenset(
    {
        "bits",
        "dataset_size",
        "label_offset",
        "max_drop",
        "metric",
        "min_snr",
        "optimizer",
        "plot",
        "precision",
        "ratio_16bit",
        "ratio_4bit",
        "size",
    }
)


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
    script: "Script | None" = None,
) -> Choice:
    """Return the recipe for the levels asked for.

    What is held against what is there are the steps that remain once a script has had its say: a
    script that finetunes on 256 images makes level 2 run with so many.

    Args:
        model: where it starts, in full precision.
        registry: the installed plugins.
        images: how many calibration images there are; None for no data.
        optimization: the optimization level; None takes the best of 2, 1, 0 that can run.
        compression: the compression level; None is 0.
        allow_downgrade: whether to go on with what is there where a need is not met.
        script: changes the steps of the levels, and names the levels that are not given here.

    Raises:
        UsageError: there is no such level.
        DataError: there is no calibration data.
        RecipeError: the model is quantized already; or a need is not met, which the message names
            with the remedy.
    """
    if script is not None:
        optimization = script.optimization_level if optimization is None else optimization
        compression = script.compression_level if compression is None else compression
    here = _Here(registry, images or 0, compression or 0, script)
    asked = here.level(DEFAULTS[0] if optimization is None else optimization)
    _check_start(model, images)
    if optimization is None:
        return _default(here, allow_downgrade)
    faults = unmet(asked, registry, here.images)
    if not faults:
        return Choice(asked, asked.recipe)
    if not allow_downgrade:
        raise _refusal(asked, faults, here)
    return lowered(asked, registry, here.images)


@dataclass(frozen=True)
class _Here:
    """What levels are held against.

    Args:
        registry: the installed plugins.
        images: how many calibration images there are.
        compression: the compression level.
        script: changes the steps of a level.
    """

    registry: "Registry"
    images: int
    compression: int
    script: "Script | None"

    def level(self, optimization: int) -> Level:
        """Return the level with the steps that the script leaves of it."""
        plain = level(optimization, self.compression)
        if self.script is None:
            return plain
        return replace(plain, steps=self.script.adapt(plain.recipe).steps)


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


def _default(here: _Here, allow: bool) -> Choice:
    """Return the best level that can run, and why those above it cannot."""
    reasons: list[str] = []
    for optimization in DEFAULTS:
        found = here.level(optimization)
        faults = unmet(found, here.registry, here.images)
        if not faults:
            return _explained(Choice(found, found.recipe), reasons)
        remedies = "; ".join(fault.remedy for fault in faults)
        why = "; ".join(fault.what for fault in faults)
        reasons.append(f"Not optimization level {optimization}: {why} ({remedies}).")
    last = here.level(DEFAULTS[-1])
    if not allow and (here.script is not None or unmet_by_quantizer(last, here.registry)):
        raise _refusal(last, unmet(last, here.registry, here.images), here)
    return _explained(lowered(last, here.registry, here.images), reasons)


def _explained(choice: Choice, reasons: list[str]) -> Choice:
    record = {**choice.recipe.level, "default": True, "reasons": list(reasons)}
    return replace(choice, recipe=replace(choice.recipe, level=record), reasons=tuple(reasons))


def _refusal(asked: Level, faults: list[Unmet], here: _Here) -> RecipeError:
    """Return the error that names needs, remedies and the ways on."""
    ways = [*dict.fromkeys(f"{fault.remedy[:1].upper()}{fault.remedy[1:]}." for fault in faults)]
    below = _highest_below(asked, here)
    if below is not None:
        ways.append(f"Or take --optimization-level {below}, which can run here.")
    ways.append("Or add --allow-downgrade to go on with what is there.")
    what = "; ".join(fault.what for fault in faults)
    return RecipeError(f"{asked.name.capitalize()} cannot run: {what}.", hint=" ".join(ways))


def _highest_below(asked: Level, here: _Here) -> int | None:
    for optimization in sorted(OPTIMIZATION, reverse=True):
        if optimization < asked.optimization and not unmet(
            here.level(optimization), here.registry, here.images
        ):
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
        plain = next(s for s in level(asked.optimization, 0).steps if s.use == "quantize")
        held = {key: value for key, value in step.options.items() if key not in _BITS}
        kept = Step("quantize", {**plain.options, **held})
        return kept, f"compression level {asked.compression} is 0, all in 8 bits: {fault.what}."
    if step.use in TRAINING and missing(UNTRAINED, registry) is None:
        return UNTRAINED, f"'{UNTRAINED.use}' takes the place of '{step.use}': {fault.what}."
    return None, f"'{step.use}' is left out: {fault.what}."


def _with_images(step: Step | None, images: int) -> tuple[Step | None, str]:
    if step is None:
        return None, ""
    over = {key: n for key in COUNTS if (n := int(step.options.get(key, 0))) > images}
    if not over:
        return step, ""
    wanted = max(over.values())
    if step.use in VARYING:
        return step, f"'{step.use}' varies {images} calibration images in place of {wanted}."
    fewer = Step(step.use, {**step.options, **dict.fromkeys(over, images)})
    return fewer, f"'{step.use}' looks at {images} calibration images, not at {wanted}."
