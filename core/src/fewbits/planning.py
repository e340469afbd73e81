"""From a recipe to components that can run: everything that can be wrong is said beforehand."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fewbits.errors import DataError, PluginError, RecipeError
from fewbits.interfaces import Algorithm, Quantizer
from fewbits.model import Model, Stage
from fewbits.recipe import Recipe, Step

if TYPE_CHECKING:
    from fewbits.plugins import Registry

QUANTIZE = "quantize"
DEFAULT_QUANTIZER = "uniform"


@dataclass(frozen=True)
class Planned:
    """A step with the component that runs it.

    Args:
        step: the component's own name and its options, defaults included, as a recipe can say it.
        algorithm: the component.
        distribution: the pip distribution it came from.
        version: that distribution's version.
        options: all its options, JSON-able.
    """

    step: Step
    algorithm: Algorithm
    distribution: str
    version: str
    options: dict[str, Any]


def plan(
    model: Model, recipe: Recipe, registry: "Registry", *, calibrated: bool = True
) -> tuple[Planned, ...]:
    """Create every component of a recipe and check that the steps can follow one another.

    Args:
        model: where the recipe starts.
        recipe: the steps.
        registry: where the components are.
        calibrated: whether there is calibration data.

    Raises:
        RecipeError: an unknown step or option (the hint names the nearest), or a wrong order.
        PluginError: a component cannot be loaded, or a module that it requires is missing.
        DataError: a step needs calibration data and there is none.
    """
    if not recipe.steps:
        raise RecipeError("The recipe holds no steps.", hint=f"The shortest is: {QUANTIZE}.")
    created = tuple(create(step.use, step.options, registry) for step in recipe.steps)
    planned = _settled(created, registry)
    check_order(model.stage, planned)
    _check_edits(planned)
    for each in planned:
        _check_modules(each)
        if each.algorithm.needs_calibration and not calibrated:
            raise DataError(
                f"Step '{each.step.use}' needs calibration data, and none was given.",
                hint="Add --calib-path with a folder of images or an npy/npz file.",
            )
    return planned


def _settled(created: tuple[Planned, ...], registry: "Registry") -> tuple[Planned, ...]:
    """Return the steps with the options that they take over from those behind them."""
    algorithms = [each.algorithm for each in created]
    settled = []
    for number, each in enumerate(created, 1):
        taken = each.algorithm.options_before(algorithms[number:])
        again = {**each.options, **taken}
        settled.append(create(each.step.use, again, registry) if taken else each)
    return tuple(settled)


def _check_modules(planned: Planned) -> None:
    for module, source in planned.algorithm.requires.items():
        if find_spec(module) is None:
            raise PluginError(
                f"Step '{planned.step.use}' needs {module}, which is not installed.",
                hint=f"Run: pip install {source}",
            )


def create(use: str, options: Mapping[str, Any], registry: "Registry") -> Planned:
    """Create the component behind a step's name.

    Args:
        use: an algorithm's or quantizer's name; `quantize` means the quantizer that the option
            `quantizer` names, `uniform` by default.
        options: its options as the user or a record gave them.
        registry: where the components are.

    Raises:
        RecipeError, PluginError: as `plan`.
    """
    if use == QUANTIZE:
        options = dict(options)
        use = str(options.pop("quantizer", DEFAULT_QUANTIZER))
    found = registry.step(use, others=(QUANTIZE,))
    algorithm: Algorithm = registry.create(found.component.kind, use, options)
    resolved = algorithm.options.model_dump(mode="json")
    shown = {key: value for key, value in resolved.items() if value is not None}
    record = found.record
    return Planned(Step(use, shown), algorithm, record.distribution, record.version, resolved)


def check_order(stage: Stage, planned: Iterable[Planned]) -> None:
    """Check that each step is for the stage that the steps before it lead to.

    Raises:
        RecipeError: it is not; the hint says where the step belongs.
    """
    start = stage
    for each in planned:
        fault, hint = _misplaced(each, stage)
        if fault:
            again = " Or begin again from the parsed stage: --restart." if start is stage else ""
            raise RecipeError(f"Step '{each.step.use}' {fault}.", hint=hint + again)
        stage = each.algorithm.stage


def _check_edits(planned: Iterable[Planned]) -> None:
    """Check that what the network takes is settled before a step may use samples.

    Numbers that go in as they are would be for one of the two networks only.
    """
    before = ""
    for each in planned:
        if before and each.algorithm.edits == "inputs":
            raise RecipeError(
                f"Step '{each.step.use}' changes what the network takes, and stands behind step"
                f" '{before}', which may have used samples of it.",
                hint=f"Put '{each.step.use}' first.",
            )
        before = before or ("" if each.algorithm.edits else each.step.use)


def _misplaced(planned: Planned, stage: Stage) -> tuple[str, str]:
    algorithm = planned.algorithm
    if stage is Stage.COMPILED:
        return "comes after compilation", "Give the archive as it was before it was compiled."
    if isinstance(algorithm, Quantizer) and stage is Stage.QUANTIZED:
        return "would quantize what is already quantized", "Keep one quantizer."
    if algorithm.stage.rank < stage.rank:
        return (
            f"works in full precision, and the model is {stage} by then",
            "Put it before the quantizer.",
        )
    before = algorithm.stage is Stage.QUANTIZED and not isinstance(algorithm, Quantizer)
    if before and stage is not Stage.QUANTIZED:
        return "works on a quantized model, and it is not quantized yet", (
            f"Put '{QUANTIZE}' before it."
        )
    return "", ""
