"""Runs data through a model and the float model beside it, and measures both."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from fewbits.data import Batch, Dataset
from fewbits.errors import DataError, UsageError
from fewbits.interfaces import Evaluator, Progress, Runnable, silent
from fewbits.model import Model, Stage

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Args:
        metrics: evaluator → metric → value.
        images: how many samples were seen.
        seconds: time inside the runnable, without reading data and computing metrics.
        reference_metrics: the same of the float model, for evaluators that need no reference;
            empty when the float model was not run.
        reference_seconds: time inside the float model; None when it was not run.
        units: evaluator → metric → unit, where one was given.
        headlines: evaluator → the metric that stands for it.
        data: what `Dataset.describe` says of the samples.
    """

    metrics: Metrics
    images: int
    seconds: float
    reference_metrics: Metrics = field(default_factory=dict)
    reference_seconds: float | None = None
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    headlines: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float:
        """Samples per second of the runnable alone."""
        return self.images / max(self.seconds, 1e-9)

    @property
    def reference_images_per_second(self) -> float | None:
        """Samples per second of the float model alone; None when it was not run."""
        seconds = self.reference_seconds
        return None if seconds is None else self.images / max(seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON knows it; a value that is not finite becomes None."""
        return {
            "images": self.images,
            "metrics": _finite(self.metrics),
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
            "reference_metrics": _finite(self.reference_metrics),
            "reference_seconds": self.reference_seconds,
            "reference_images_per_second": self.reference_images_per_second,
            "units": self.units,
            "headlines": self.headlines,
            "data": self.data,
        }


class _Timed:
    """A runnable with a stop watch around it."""

    def __init__(self, runnable: Runnable) -> None:
        self.runnable = runnable
        self.seconds = 0.0

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        start = time.perf_counter()
        outputs = self.runnable.run(inputs)
        self.seconds += time.perf_counter() - start
        return outputs


def evaluate(
    model: Model,
    dataset: Dataset,
    evaluators: Sequence[Evaluator],
    *,
    runnable: Runnable | None = None,
    reference: Runnable | None = None,
    batch_size: int = 32,
    progress: Progress = silent,
    threads: int | None = None,
) -> Evaluation:
    """Run every sample once and give each evaluator what it needs.

    Args:
        model: the model that is measured.
        dataset: the samples, with labels if an evaluator needs them.
        evaluators: what to measure, each name once.
        runnable: what runs the model (an emulator, a session); None runs the network as parsed,
            in float.
        reference: the float model; None runs the network as parsed where an evaluator needs it.
            One that is given is run and timed even if no evaluator needs it.
        batch_size: samples per run.
        progress: called after each batch.
        threads: for the sessions made here; None lets ONNX Runtime choose.

    Raises:
        DataError: labels are needed and absent, or there are no samples.
        UsageError: no evaluator, or one twice; or the network's ends were edited, so that the
            network as parsed is nothing to compare with, and no `reference` was given.
    """
    _check(dataset, evaluators)
    needed = any(e.needs_reference for e in evaluators)
    subject = _Timed(runnable or _as_parsed(model, threads))
    if needed and reference is None:
        _check_ends(model)
    beside = _Timed(reference or _as_parsed(model, threads)) if needed or reference else None
    totals = {e.name: e.accumulator() for e in evaluators}
    floats = {
        e.name: e.accumulator() for e in evaluators if beside is not None and not e.needs_reference
    }
    done = 0
    progress("evaluate", 0, len(dataset), "images")
    for turn, batch in enumerate(dataset.batches(batch_size)):
        outputs, expected = _both(subject, beside, batch, turn)
        for total in totals.values():
            total.update(outputs, batch.labels, expected)
        for total in floats.values():
            total.update(expected or {}, batch.labels, None)
        done += len(batch)
        progress("evaluate", done, len(dataset), "images")
    return Evaluation(
        {name: total.result() for name, total in totals.items()},
        done,
        subject.seconds,
        {name: total.result() for name, total in floats.items()},
        None if beside is None else beside.seconds,
        {e.name: dict(e.units) for e in evaluators},
        {e.name: e.headline for e in evaluators},
        dataset.describe(),
    )


def _both(
    subject: _Timed, beside: _Timed | None, batch: Batch, turn: int
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]] | None]:
    """Run both on a batch, in turn the one or the other first.

    Whoever runs first shares the cores with the threads that decode the next batch; taking turns
    keeps that from favouring one of the two.
    """
    if beside is None:
        return subject.run(batch.inputs), None
    if turn % 2:
        expected = beside.run(batch.inputs)
        return subject.run(batch.inputs), expected
    outputs = subject.run(batch.inputs)
    return outputs, beside.run(batch.inputs)


def _check(dataset: Dataset, evaluators: Sequence[Evaluator]) -> None:
    names = [e.name for e in evaluators]
    if not names or len(set(names)) < len(names):
        raise UsageError(
            f"Evaluators are {', '.join(names) or 'none'}; at least one is needed, each once.",
            hint="Name for example fidelity.",
        )
    if len(dataset) == 0:
        raise DataError("There are no samples to evaluate on.", hint="Give at least one.")
    for lack in filter(None, (e.lacks(dataset.labels) for e in evaluators)):
        raise DataError(
            f"{lack}.",
            hint="Give data with such labels, for classes a labels.csv in the folder or an array"
            " 'labels' in the npz; or evaluate fidelity, which needs none.",
        )


def _check_ends(model: Model) -> None:
    edits = [record.use for record in model.history if record.edits]
    if edits:
        raise UsageError(
            f"{model.name} has other inputs or outputs than the network as parsed, since step"
            f" '{edits[0]}'.",
            hint="Give as reference a session of fewbits.edits.float_counterpart(model, registry).",
        )


def _as_parsed(model: Model, threads: int | None) -> Runnable:
    from fewbits.runtime import Session

    return Session(model.at(Stage.PARSED).network, threads=threads)


def _finite(metrics: Metrics) -> dict[str, dict[str, float | None]]:
    return {
        name: {key: float(v) if math.isfinite(v) else None for key, v in part.items()}
        for name, part in metrics.items()
    }
