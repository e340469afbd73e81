"""The Python API: what the command line does, as functions.

    model = fewbits.parse("net.onnx")
    model = fewbits.optimize(model, calibration="images/", optimization_level=1)
    fewbits.evaluate(model, "labelled/").metrics
    fewbits.compile(model, "net.int8.onnx")
    fewbits.save(model, "net.fewbits")

Every function takes a `registry`; by default the installed plugins are discovered, without those
in FEWBITS_DISABLE.
"""

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from fewbits import archive, runner
from fewbits.compiling import quantized
from fewbits.data import Dataset
from fewbits.edits import before_samples, float_counterpart
from fewbits.errors import UsageError, nearest
from fewbits.evaluation import Evaluation
from fewbits.evaluation import evaluate as measure
from fewbits.executables import (
    DEFAULT_TARGET,
    bundle,
    check,
    compile,
    compiled,
    made_for,
    on_device,
)
from fewbits.interfaces import Evaluator, Runnable, Target
from fewbits.labels import kind_of
from fewbits.model import Model, Stage
from fewbits.opening import Data, Steps, as_recipe, open_data, parse
from fewbits.plugins import Registry, from_environment
from fewbits.preparing import Wish, is_script, prepare
from fewbits.replaying import Replayed
from fewbits.replaying import replay as run_again

__all__ = [
    "DEFAULT_TARGET",
    "as_recipe",
    "bundle",
    "check",
    "compile",
    "compiled",
    "evaluate",
    "load",
    "open_data",
    "optimize",
    "parse",
    "replay",
    "save",
]

_LOG = logging.getLogger(__name__)
Levels = tuple[int | None, int | None, bool]
RUNS_ON = ("native", "full_precision", "emulator", "hardware")


def optimize(
    model: Model,
    *,
    calibration: Data | None = None,
    recipe: Steps | None = None,
    optimization_level: int | None = None,
    compression_level: int | None = None,
    allow_downgrade: bool = False,
    lenient: bool = False,
    target: Target | str = DEFAULT_TARGET,
    seed: int = 0,
    count: int | None = None,
    threads: int | None = None,
    batch_size: int = 4,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    restart: bool = False,
    registry: Registry | None = None,
) -> Model:
    """Run a recipe on a model, or the recipe that two levels stand for (`fewbits.levels`).

    Args:
        model: where to start; it is not changed.
        calibration: unlabelled samples: a Dataset, a path, an array or arrays by input name.
        recipe: a Recipe, a step (`quantize:precision=a8_w4`), steps, or the path of a TOML file
            (`.toml`) or of a script that a plugin reads (`.alls`), which changes what the levels
            stand for; by default these.
        optimization_level: -100, or 0 to 4; by default the best of 2, 1, 0 that can run. The last
            record of the history says which it was, and why.
        compression_level: 0 to 5, from no weights in 4 bits to all of them; 0 by default.
        allow_downgrade: where a need of the levels is not met, go on with what is there; what was
            lowered is logged as a warning and stands in the history.
        lenient: leave out lines of a script that are not known, with a warning each.
        target: the hardware target or its name.
        seed: where all chance comes from.
        count: how many samples to take, from the start.
        threads: how many threads to use; None lets the runtime choose.
        batch_size: samples per run of the network.
        checkpoint: archive to write after each step; left there for the caller to discard.
        resume: go on from `checkpoint` if it exists and belongs to this very run.
        restart: begin from the parsed stage, whatever has been done to the model since.
        registry: the plugins.

    Raises:
        UsageError: both a recipe and levels were given, or there is no such level.
        RecipeError: the recipe cannot run on this model: a model that is quantized already takes
            only steps for quantized models, unless `restart`; or a need of the levels is not met.
        FewbitsError: whatever a step raises on purpose.
    """
    plugins = registry or from_environment()
    start = model.at(Stage.PARSED) if restart else model
    levels = (optimization_level, compression_level, allow_downgrade)
    wish = _wish(recipe, levels, lenient, plugins)
    device = target if isinstance(target, Target) else plugins.create("target", target, {})
    prepared = prepare(
        start, wish, registry=plugins, target=device, calibration=calibration, count=count
    )
    for each in prepared.warnings():
        _LOG.warning(each)
    return runner.run(
        start,
        prepared.recipe,
        registry=plugins,
        target=device,
        calibration=prepared.samples,
        seed=seed,
        threads=threads,
        batch_size=batch_size,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        resume=resume,
    )


def _wish(recipe: Steps | None, levels: Levels, lenient: bool, registry: Registry) -> Wish:
    """Return what is to be done.

    Raises:
        UsageError: steps are named, and levels are given; or there is no script to be lenient with.
    """
    script = recipe if isinstance(recipe, str | Path) and is_script(recipe, registry) else None
    if lenient and script is None:
        raise UsageError("There is no script to be lenient with.", hint="Leave lenient out.")
    if recipe is None or script is not None:
        path = None if script is None else Path(script)
        return Wish(None, path, lenient, *levels)
    if levels != (None, None, False):
        raise UsageError(
            "A recipe and levels both say which steps to run.",
            hint="Give one of them; `fewbits describe level 2` prints a level's recipe to change.",
        )
    return Wish(as_recipe(recipe))


def evaluate(
    model: Model,
    data: Data,
    *,
    target: str = "emulator",
    evaluators: Sequence[str | Evaluator] | None = None,
    count: int | None = None,
    reader: str | None = None,
    skip_bad: bool = False,
    threads: int | None = None,
    batch_size: int = 32,
    executable: str | Path | None = None,
    registry: Registry | None = None,
) -> Evaluation:
    """Measure a model on data.

    Args:
        model: the model.
        data: samples, with labels or without: a Dataset, a path, an array or arrays by input.
        target: what runs: `native` (the network as parsed), `full_precision` (after the
            full-precision steps), `emulator` (the quantized network with the device's numerics),
            `hardware` (the compiled file on the device itself).
        evaluators: names or objects; by default `fidelity` where steps have changed the network,
            and `classification` if there are labels.
        count: how many samples to take, from the start.
        reader: what reads a path, `NAME:option=value`; by default the reader that claims it.
        skip_bad: leave samples of a path out that cannot be read; `data` in the result lists them.
        threads: how many threads to use; None lets the runtime choose.
        batch_size: samples per run of the network.
        executable: the compiled file, for `hardware`.
        registry: the plugins.

    Raises:
        UsageError: an unknown target, or nothing to measure.
        ModelError: emulator or hardware is asked for and the model is not quantized.
        TargetError: there is no such device, or what it needs is missing; says what.
    """
    if target not in RUNS_ON:
        raise UsageError(f"Models do not run on '{target}'.", hint=nearest(target, RUNS_ON))
    plugins = registry or from_environment()
    file = None if executable is None else Path(executable)
    with closing(_runnable(model, target, threads, plugins, file)) as runnable:
        taker = model.at(Stage.PARSED) if target == "native" else model
        asked = None if evaluators is None else _made(evaluators, plugins)
        labelled = asked is None or any(each.needs_labels for each in asked)
        dataset = open_data(
            data, taker, plugins, count, reader, labelled=labelled, skip_bad=skip_bad
        )
        untouched = target == "full_precision" and model.at(Stage.OPTIMIZED).stage is Stage.PARSED
        judged = _has_classes(dataset) if evaluators is None else dataset.labels is not None
        is_reference = target == "native" or (untouched and judged)
        chosen = _evaluators(asked, dataset, plugins, is_reference=is_reference)
        return measure(
            taker,
            dataset,
            chosen,
            runnable=runnable,
            reference=None if is_reference else _reference(model, threads, plugins),
            batch_size=batch_size,
            progress=plugins.progress,
            threads=threads,
        )


def _float(model: Model, stage: Stage, threads: int | None) -> Runnable:
    from fewbits.runtime import Session

    return Session(model.at(stage).network, threads=threads)


def _reference(model: Model, threads: int | None, registry: Registry) -> Runnable:
    from fewbits.runtime import Session

    return Session(float_counterpart(model, registry).network, threads=threads)


def _runnable(
    model: Model, target: str, threads: int | None, registry: Registry, executable: Path | None
) -> Runnable:
    if target == "hardware":
        return on_device(model, executable, registry=registry)
    if target != "emulator":
        stage = Stage.PARSED if target == "native" else Stage.OPTIMIZED
        return _float(model, stage, threads)
    device: Target = registry.create("target", made_for(model), {})
    return device.emulator(quantized(model), threads)


def _evaluators(
    asked: list[Evaluator] | None,
    dataset: Dataset,
    registry: Registry,
    *,
    is_reference: bool,
) -> list[Evaluator]:
    if asked is None:
        fidelity = [] if is_reference else ["fidelity"]
        own = ["classification"] if _has_classes(dataset) else []
        asked = _made([*fidelity, *own], registry)
    if not asked:
        raise UsageError(
            "There is nothing to measure: native is the reference itself, and there are no labels.",
            hint="Give labelled data, or evaluate full_precision or emulator.",
        )
    return asked


def _made(asked: Sequence[str | Evaluator], registry: Registry) -> list[Evaluator]:
    return [registry.create("evaluator", e, {}) if isinstance(e, str) else e for e in asked]


def _has_classes(dataset: Dataset) -> bool:
    return dataset.labels is not None and kind_of(dataset.labels) is int


def load(path: str | Path) -> Model:
    """Read an archive; see `archive.read`."""
    return archive.read(Path(path))


def save(model: Model, path: str | Path) -> Path:
    """Write an archive with every stage of the model; see `archive.write`."""
    archive.write(model, Path(path))
    return Path(path)


def replay(
    model: Model | str | Path,
    *,
    calibration: Data | None = None,
    threads: int | None = None,
    registry: Registry | None = None,
) -> list[Replayed]:
    """Run a model's history again and compare the digests; see `replaying.replay`.

    Args:
        model: the model, or the path of its archive.
        calibration: the samples; opened again from where they were by default.
        threads: how many threads to use; None lets the runtime choose.
        registry: the plugins.
    """
    plugins = registry or from_environment()
    held = model if isinstance(model, Model) else load(model)
    samples = None
    if calibration is not None:
        parsed = held.at(Stage.PARSED)
        taker = before_samples(parsed, held.history[len(parsed.history) :], plugins)
        samples = open_data(calibration, taker, plugins, labelled=False)
    return run_again(held, registry=plugins, calibration=samples, threads=threads)
