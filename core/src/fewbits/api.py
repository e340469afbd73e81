"""The Python API: what the command line does, as functions.

    model = fewbits.parse("net.onnx")
    model = fewbits.optimize(model, calibration="images/", recipe=["quantize:precision=a8_w4"])
    fewbits.evaluate(model, "labelled/").metrics
    fewbits.compile(model, "net.int8.onnx")
    fewbits.save(model, "net.fewbits")

Every function takes a `registry`; by default the installed plugins are discovered, without those
in FEWBITS_DISABLE.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits import archive, runner
from fewbits.atomic import write_bytes
from fewbits.compiling import compile_model, quantized
from fewbits.container import sha256
from fewbits.data import ArrayDataset, Dataset, input_specs_of, take
from fewbits.datasource import open_dataset
from fewbits.errors import ModelError, UsageError, nearest
from fewbits.evaluation import Evaluation
from fewbits.evaluation import evaluate as measure
from fewbits.interfaces import Evaluator, Frontend, Runnable, Target
from fewbits.model import Model, Stage
from fewbits.planning import QUANTIZE
from fewbits.plugins import Registry, from_environment
from fewbits.preprocess import Preprocess, parse_preprocess
from fewbits.provenance import Report, StepRecord
from fewbits.recipe import Recipe, Step, parse_step
from fewbits.replaying import Replayed
from fewbits.replaying import replay as run_again

Data = Dataset | str | Path | NDArray[Any] | Mapping[str, NDArray[Any]]
Steps = Recipe | str | Path | Sequence[str | Step]
RUNS_ON = ("native", "full_precision", "emulator")


def parse(
    path: str | Path,
    *,
    frontend: str | None = None,
    preprocess: Preprocess | str | None = None,
    start_node_names: Sequence[str] = (),
    end_node_names: Sequence[str] = (),
    input_shape: Any = None,
    registry: Registry | None = None,
) -> Model:
    """Read a network.

    Args:
        path: the file.
        frontend: name of the frontend; found by the file's ending by default.
        preprocess: how pictures become inputs, as an object or as `resize=256,crop=224,…`; stays
            with the model.
        start_node_names: cut off what lies before these nodes.
        end_node_names: cut off what lies behind these nodes.
        input_shape: sizes for dynamic dimensions, as the frontend takes them.
        registry: the plugins.

    Returns:
        The model at stage `parsed`; its history begins with the frontend and the file's digest.

    Raises:
        ModelError: the file cannot be read, or holds what cannot be handled.
    """
    path, plugins = Path(path), registry or from_environment()
    data = _file_bytes_digest(path)
    name = frontend or _frontend_for(path, plugins)
    asked = {
        "start_node_names": list(start_node_names),
        "end_node_names": list(end_node_names),
        "input_shape": input_shape,
    }
    reader: Frontend = plugins.create("frontend", name, {k: v for k, v in asked.items() if v})
    model = reader.parse(path)
    said = parse_preprocess(preprocess) if isinstance(preprocess, str) else preprocess
    model = model if said is None else model.replace(preprocess=said)
    origin = plugins.get("frontend", name).record
    record = StepRecord(
        use=name,
        distribution=origin.distribution,
        version=origin.version,
        options=reader.options.model_dump(mode="json"),
        seed=0,
        data={"path": str(path), "digest": data},
        target="",
        input_digest=data,
        output_digest=archive.digest(model),
        seconds=0.0,
        report=Report(True, f"read {path.name}"),
    )
    return model.replace(history=(*model.history, record))


def _file_bytes_digest(path: Path) -> str:
    if path.suffix == ".fewbits":
        raise UsageError(f"{path} is an archive, parsed already.", hint="Use fewbits.load.")
    try:
        return sha256(path.read_bytes())
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error


def _frontend_for(path: Path, registry: Registry) -> str:
    endings: dict[str, list[str]] = {}
    for each in registry.components("frontend"):
        name = each.component.name
        for suffix in registry.load("frontend", name).suffixes:
            endings.setdefault(suffix.lower(), []).append(name)
    names = endings.get(path.suffix.lower(), [])
    if len(names) == 1:
        return names[0]
    if names:
        raise UsageError(
            f"Several frontends read {path.suffix}: {', '.join(names)}.", hint="Name the frontend."
        )
    raise ModelError(
        f"No frontend reads '{path.name}'.",
        hint=f"Endings that are read: {', '.join(sorted(endings)) or 'none'}.",
    )


def optimize(
    model: Model,
    *,
    calibration: Data | None = None,
    recipe: Steps | None = None,
    target: Target | str = "cpu",
    seed: int = 0,
    count: int | None = None,
    threads: int | None = None,
    batch_size: int = 8,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    restart: bool = False,
    registry: Registry | None = None,
) -> Model:
    """Run a recipe on a model.

    Args:
        model: where to start; it is not changed.
        calibration: unlabelled samples: a Dataset, a path, an array or arrays by input name.
        recipe: a Recipe, a step (`quantize:precision=a8_w4`), steps, or the path of a TOML file
            (`.toml`); `quantize` by default.
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
        RecipeError: the recipe cannot run on this model: a model that is quantized already takes
            only steps for quantized models, unless `restart`.
        FewbitsError: whatever a step raises on purpose.
    """
    plugins = registry or from_environment()
    start = model.at(Stage.PARSED) if restart else model
    steps = as_recipe(recipe)
    runner.check(start, steps, plugins, calibrated=calibration is not None)
    samples = None if calibration is None else open_data(calibration, start, plugins, count)
    return runner.run(
        start,
        steps,
        registry=plugins,
        target=target,
        calibration=samples,
        seed=seed,
        threads=threads,
        batch_size=batch_size,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        resume=resume,
    )


def as_recipe(steps: Steps | None) -> Recipe:
    """Return the recipe that `optimize` understands by `steps`.

    >>> as_recipe(["tse", "quantize:precision=a8_w4"]).steps[1].options
    {'precision': 'a8_w4'}
    """
    if steps is None:
        return Recipe((Step(QUANTIZE),))
    if isinstance(steps, Recipe):
        return steps
    if isinstance(steps, str | Path):
        is_file = isinstance(steps, Path) or steps.endswith(".toml")
        return Recipe.load(steps) if is_file else Recipe((parse_step(str(steps)),))
    return Recipe(tuple(s if isinstance(s, Step) else parse_step(s) for s in steps))


def open_data(data: Data, model: Model, registry: Registry, count: int | None = None) -> Dataset:
    """Return `data` as a Dataset for the model's inputs, the first `count` samples of it.

    Raises:
        DataError: it cannot be read or does not fit the model.
    """
    specs = input_specs_of(model)
    if isinstance(data, str | Path):
        return open_dataset(
            data, specs, registry=registry, preprocess=model.preprocess, count=count
        )
    if isinstance(data, np.ndarray):
        data = {specs[0].name: data}
    dataset = data if isinstance(data, Dataset) else ArrayDataset(data)
    return dataset if count is None else take(dataset, count)


def evaluate(
    model: Model,
    data: Data,
    *,
    target: str = "emulator",
    evaluators: Sequence[str | Evaluator] | None = None,
    count: int | None = None,
    threads: int | None = None,
    batch_size: int = 32,
    registry: Registry | None = None,
) -> Evaluation:
    """Measure a model on data.

    Args:
        model: the model.
        data: samples, with labels or without: a Dataset, a path, an array or arrays by input.
        target: what runs: `native` (the network as parsed), `full_precision` (after the
            full-precision steps), `emulator` (the quantized network with the device's numerics).
        evaluators: names or objects; by default `fidelity` unless the target is native, and
            `classification` if there are labels.
        count: how many samples to take, from the start.
        threads: how many threads to use; None lets the runtime choose.
        batch_size: samples per run of the network.
        registry: the plugins.

    Raises:
        UsageError: an unknown target, or nothing to measure.
        ModelError: the emulator is asked for and the model is not quantized.
    """
    if target not in RUNS_ON:
        raise UsageError(f"Models do not run on '{target}'.", hint=nearest(target, RUNS_ON))
    plugins = registry or from_environment()
    runnable = _runnable(model, target, threads, plugins)
    dataset = open_data(data, model, plugins, count)
    chosen = _evaluators(evaluators, target, dataset, plugins)
    return measure(
        model,
        dataset,
        chosen,
        runnable=runnable,
        reference=_float(model, Stage.PARSED, threads) if target != "native" else None,
        batch_size=batch_size,
        progress=plugins.progress,
        threads=threads,
    )


def _float(model: Model, stage: Stage, threads: int | None) -> Runnable:
    from fewbits.runtime import Session

    return Session(model.at(stage).network, threads=threads)


def _runnable(model: Model, target: str, threads: int | None, registry: Registry) -> Runnable:
    if target != "emulator":
        stage = Stage.PARSED if target == "native" else Stage.OPTIMIZED
        return _float(model, stage, threads)
    source = quantized(model)
    device: Target = registry.create("target", source.history[-1].target, {})
    return device.emulator(source, threads)


def _evaluators(
    asked: Sequence[str | Evaluator] | None, target: str, dataset: Dataset, registry: Registry
) -> list[Evaluator]:
    if asked is None:
        fidelity = ["fidelity"] if target != "native" else []
        asked = [*fidelity, *(["classification"] if dataset.labels is not None else [])]
    if not asked:
        raise UsageError(
            "There is nothing to measure: native is the reference itself, and there are no labels.",
            hint="Give labelled data, or evaluate full_precision or emulator.",
        )
    return [
        registry.create("evaluator", each, {}) if isinstance(each, str) else each for each in asked
    ]


def compile(
    model: Model, path: str | Path, *, target: str = "cpu", registry: Registry | None = None
) -> Path:
    """Compile a quantized model for a target and write the executable, atomically.

    Raises:
        ModelError: the model is not quantized.
        TargetError: the target cannot run it; names the layer, the limit and the remedy.
        FewbitsError: the file cannot be written.
    """
    _, data = compiled(model, target=target, registry=registry)
    write_bytes(Path(path), data)
    return Path(path)


def compiled(
    model: Model, *, target: str = "cpu", registry: Registry | None = None
) -> tuple[Model, bytes]:
    """Compile, and return the model at stage `compiled` with the executable's bytes.

    Raises:
        ModelError, TargetError: as `compile`.
    """
    plugins = registry or from_environment()
    origin = plugins.get("target", target).record
    device: Target = plugins.create("target", target, {})
    return compile_model(model, device, distribution=origin.distribution, version=origin.version)


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
    samples = None if calibration is None else open_data(calibration, held, plugins)
    return run_again(held, registry=plugins, calibration=samples, threads=threads)
