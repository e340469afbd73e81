"""From what the user typed to a Dataset: asks the readers of every plugin whose it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fewbits.data import Dataset, InputSpec, Request
from fewbits.errors import DataError, PluginError
from fewbits.feed import FeedDataset, checked_labels, common_length, feed
from fewbits.preprocess import Preprocess, parse_preprocess
from fewbits.recipe import parse_step

if TYPE_CHECKING:
    from fewbits.interfaces import DatasetReader
    from fewbits.plugins import Registry


def open_dataset(
    path: str | Path,
    inputs: tuple[InputSpec, ...],
    *,
    registry: "Registry",
    preprocess: Preprocess | None = None,
    count: int | None = None,
    reader: str | None = None,
    labelled: bool = True,
    skip_bad: bool = False,
) -> Dataset:
    """Open a path with the reader that claims it.

    Args:
        path: a folder, a file, `FILE.npz#key`, or whatever an installed reader takes.
        inputs: what the network asks for (`data.input_specs_of(model)`).
        registry: where the readers are.
        preprocess: how pictures become inputs.
        count: how many samples to take, from the start; None for all.
        reader: a reader's name, with options as in `NAME:option=value`; by default the one that
            claims the path.
        labelled: whether labels are of use (`Request`).
        skip_bad: leave bad samples out (`Request`).

    Raises:
        DataError: no reader claims the path or several do, or it cannot leave bad samples out; or
            what the reader says.
        PluginError: there is no reader of the name given.
        RecipeError: its options do not fit.
    """
    request = Request(str(path), inputs, preprocess, count, labelled, skip_bad)
    asked = parse_step(reader or _claimed_by(request.path, registry))
    opened: DatasetReader = registry.create("dataset", asked.use, asked.options)
    if skip_bad and not opened.skips_bad:
        raise DataError(
            f"The reader '{asked.use}' of {path} does not leave bad samples out.",
            hint="Repair the data, and read it without skip_bad (--skip-bad).",
        )
    return opened.open(request)


def from_arrays(
    arrays: NDArray[Any] | Mapping[str, NDArray[Any]],
    inputs: tuple[InputSpec, ...],
    *,
    preprocess: Preprocess | None = None,
    labels: NDArray[Any] | None = None,
) -> Dataset:
    """Make a dataset of arrays in memory, with the rules and checks of npy and npz files.

    Args:
        arrays: one for each input, by name; for one input the array alone will do. uint8 arrays
            are pictures and go through the preprocessing, others must fit the network.
        inputs: what the network asks for.
        preprocess: how pictures become inputs.
        labels: class indices, one for each sample.

    Raises:
        DataError: types, shapes, lengths, names or labels do not fit.
    """
    names = [spec.name for spec in inputs]
    given = dict(arrays) if isinstance(arrays, Mapping) else {names[0]: arrays}
    if set(given) != set(names):
        raise DataError(
            f"The network's inputs are {', '.join(names)}; arrays were given for"
            f" {', '.join(given) or 'none'}.",
            hint="Give one array for each input, under its name.",
        )
    feeds = {
        spec.name: feed(
            spec, np.asarray(given[spec.name]), f"The array of '{spec.name}'", preprocess
        )
        for spec in inputs
    }
    length = common_length(feeds)
    checked = None
    if labels is not None:
        checked = checked_labels(np.asarray(labels), length, "The array of labels", names[0])
    request = Request("", inputs, preprocess)
    return FeedDataset(request, feeds, np.arange(length, dtype=np.int64), checked)


def reopen(
    description: Mapping[str, Any],
    inputs: tuple[InputSpec, ...],
    *,
    registry: "Registry",
    labelled: bool = True,
) -> Dataset:
    """Open data again from what `Dataset.describe` said of it, and check that it is the same.

    Raises:
        DataError: it was given in memory, or its content has changed since.
    """
    path = str(description.get("path", ""))
    if not path:
        raise DataError(
            "The data was given in memory and cannot be opened again.",
            hint="Give the same data again.",
        )
    said, rows = description.get("preprocess", ""), description.get("rows")
    dataset = open_dataset(
        path,
        inputs,
        registry=registry,
        preprocess=parse_preprocess(said) if said else Preprocess(),
        count=None if rows is not None else description.get("count"),
        reader=description.get("reader"),
        labelled=labelled,
        skip_bad=bool(description.get("skipped")),
    )
    dataset = dataset if rows is None else dataset.select(rows)
    if dataset.describe().get("digest") != description.get("digest"):
        raise DataError(
            f"{path} is not what it was: its digest differs from the one written down.",
            hint="Give the data that the model was made with.",
        )
    return dataset


def _claimed_by(path: str, registry: "Registry") -> str:
    """Return the name of the one reader that claims `path`; a general one only where no other."""
    special: list[str] = []
    general: list[str] = []
    faults = []
    for registered in registry.components("dataset"):
        name = registered.component.name
        try:
            reader: DatasetReader = registry.create("dataset", name, {})
            if reader.accepts(path):
                (general if reader.general else special).append(name)
        except Exception as error:  # One bad reader must not keep the others from answering.
            faults.append(f"{name} failed: {_first_line(error)}")
    claims = special or general
    if len(claims) == 1:
        return claims[0]
    if claims:
        raise DataError(
            f"Several readers take {path}: {', '.join(claims)}.",
            hint="Name the one to use: --data-reader for the samples to measure on.",
        )
    raise _nobody(path, [r.component.name for r in registry.components("dataset")], faults)


def _nobody(path: str, names: list[str], faults: list[str]) -> DataError:
    if not Path(path.partition("#")[0]).exists():
        return DataError(f"There is no file or folder {path}.", hint="Check the path.")
    return DataError(
        f"No reader takes {path}.",
        hint=f"Give a folder of pictures or an npy or npz file. Readers:"
        f" {', '.join([*names, *faults]) or 'none'}.",
    )


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, PluginError) else str(error)
    return (text or type(error).__name__).splitlines()[0]
