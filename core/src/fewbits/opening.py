"""From what users give to what fewbits works on: a network, a recipe, a dataset."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fewbits import archive
from fewbits.data import Dataset, input_specs_of, take
from fewbits.datasource import from_arrays, open_dataset
from fewbits.errors import DataError, ModelError, PluginError, UsageError
from fewbits.interfaces import Frontend
from fewbits.model import Model
from fewbits.plugins import from_environment
from fewbits.preprocess import Preprocess, parse_preprocess
from fewbits.provenance import Report, StepRecord
from fewbits.recipe import Recipe, Step, parse_step
from fewbits.serialize import freeze

if TYPE_CHECKING:
    from fewbits.plugins import Registered, Registry

Data = Dataset | str | Path | NDArray[Any] | Mapping[str, NDArray[Any]]
Steps = Recipe | str | Path | Sequence[str | Step]


def parse(
    path: str | Path,
    *,
    frontend: str | None = None,
    preprocess: Preprocess | str | None = None,
    start_node_names: Sequence[str] = (),
    end_node_names: Sequence[str] = (),
    input_shape: Any = None,
    registry: "Registry | None" = None,
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
    source = {"path": str(path), "digest": file_digest(path)}
    name = frontend or _frontend_for(path, plugins)
    asked = {
        "start_node_names": list(start_node_names),
        "end_node_names": list(end_node_names),
        "input_shape": input_shape,
    }
    reader: Frontend = plugins.create("frontend", name, {k: v for k, v in asked.items() if v})
    start = time.perf_counter()
    model = reader.parse(path)
    seconds = time.perf_counter() - start
    freeze(model.network)
    said = parse_preprocess(preprocess) if isinstance(preprocess, str) else preprocess
    model = model if said is None else model.replace(preprocess=said)
    record = _parsed(model, reader, plugins.get("frontend", name), source, seconds)
    return model.replace(history=(*model.history, record))


def _parsed(
    model: Model, reader: Frontend, origin: "Registered", source: dict[str, str], seconds: float
) -> StepRecord:
    return StepRecord(
        use=origin.component.name,
        distribution=origin.record.distribution,
        version=origin.record.version,
        options=reader.options.model_dump(mode="json"),
        seed=0,
        data=source,
        target="",
        input_digest=source["digest"],
        output_digest=archive.digest(model),
        seconds=seconds,
        report=Report(True, f"read {Path(source['path']).name}"),
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a network's file, as the history keeps it.

    Raises:
        UsageError: it is an archive.
        ModelError: it cannot be read.
    """
    if path.suffix == ".fewbits":
        raise UsageError(f"{path} is an archive, parsed already.", hint="Use fewbits.load.")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error


def _frontend_for(path: Path, registry: "Registry") -> str:
    endings: dict[str, list[str]] = {}
    faults = []
    for each in registry.components("frontend"):
        name = each.component.name
        try:
            suffixes = registry.load("frontend", name).suffixes
        except PluginError as error:  # One bad frontend must not keep the others from reading.
            faults.append(error.message)
            continue
        for suffix in suffixes:
            endings.setdefault(suffix.lower(), []).append(name)
    names = endings.get(path.suffix.lower(), [])
    if len(names) == 1:
        return names[0]
    if names:
        raise UsageError(
            f"Several frontends read {path.suffix}: {', '.join(names)}.", hint="Name the frontend."
        )
    known = f"Endings that are read: {', '.join(sorted(endings)) or 'none'}."
    raise ModelError(f"No frontend reads '{path.name}'.", hint=" ".join([known, *faults]))


def as_recipe(steps: Steps) -> Recipe:
    """Return the recipe that `optimize` understands by `steps`.

    >>> as_recipe(["tse", "quantize:precision=a8_w4"]).steps[1].options
    {'precision': 'a8_w4'}
    """
    if isinstance(steps, Recipe):
        return steps
    if isinstance(steps, str | Path):
        is_file = isinstance(steps, Path) or steps.endswith(".toml")
        return Recipe.load(steps) if is_file else Recipe((parse_step(str(steps)),))
    return Recipe(tuple(s if isinstance(s, Step) else parse_step(s) for s in steps))


def open_data(
    data: Data,
    model: Model,
    registry: "Registry",
    count: int | None = None,
    reader: str | None = None,
    *,
    labelled: bool = True,
    skip_bad: bool = False,
) -> Dataset:
    """Return `data` as a Dataset for the model's inputs, the first `count` samples of it.

    Args:
        data: a Dataset, a path, an array for the only input, or arrays by input name; among the
            latter, `labels` are the labels.
        model: whose inputs and preprocessing it is for.
        registry: where the readers are.
        count: how many samples to take; None for all.
        reader: what reads a path, as for `datasource.open_dataset`.
        labelled: whether labels are of use.
        skip_bad: leave samples out that cannot be read; of a path only.

    Raises:
        DataError: it cannot be read or does not fit the model, or a reader is named for what is
            no path.
    """
    specs = input_specs_of(model)
    if isinstance(data, str | Path):
        return open_dataset(
            data,
            specs,
            registry=registry,
            preprocess=model.preprocess,
            count=count,
            reader=reader,
            labelled=labelled,
            skip_bad=skip_bad,
        )
    if reader is not None or skip_bad:
        raise DataError(
            "reader and skip_bad are for samples that are read from a path.", hint="Leave them out."
        )
    dataset = data if isinstance(data, Dataset) else _in_memory(data, model)
    return dataset if count is None else take(dataset, count)


def _in_memory(data: NDArray[Any] | Mapping[str, NDArray[Any]], model: Model) -> Dataset:
    if not isinstance(data, np.ndarray | Mapping):
        raise DataError(
            f"A {type(data).__name__} is no data.",
            hint="Give a path, a numpy array, arrays by input name, or a Dataset.",
        )
    labels = None
    if not isinstance(data, np.ndarray) and "labels" not in model.input_names:
        labels = data.get("labels")
        data = {name: array for name, array in data.items() if name != "labels"}
    return from_arrays(data, input_specs_of(model), preprocess=model.preprocess, labels=labels)
