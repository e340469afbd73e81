"""The built-in evaluators: `fidelity` against the float model, `classification` against labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fewbits.errors import DataError, RecipeError, nearest
from fewbits.interfaces import Accumulator, Evaluator
from fewbits.metrics import cosine, label_ranks, snr_db
from fewbits.options import Options


@dataclass
class _Totals:
    """Running totals of one output."""

    samples: int = 0
    snr: float = 0.0
    snr_min: float = np.inf
    cosine: float = 0.0
    agreed: int | None = None

    def update(self, reference: NDArray[Any], values: NDArray[Any]) -> None:
        snr = snr_db(_flat(reference), _flat(values))
        self.samples += len(snr)
        self.snr += float(snr.sum())
        self.snr_min = float(np.minimum(self.snr_min, snr.min(initial=np.inf)))
        self.cosine += float(cosine(_flat(reference), _flat(values)).sum())
        if _are_scores(reference):
            same = _flat(reference).argmax(axis=1) == _flat(values).argmax(axis=1)
            self.agreed = (self.agreed or 0) + int(same.sum())
        elif _are_classes(reference):
            self.agreed = (self.agreed or 0) + int((reference == values).sum())

    def merge(self, other: "_Totals") -> None:
        self.samples += other.samples
        self.snr += other.snr
        self.snr_min = float(np.minimum(self.snr_min, other.snr_min))
        self.cosine += other.cosine
        if other.agreed is not None:
            self.agreed = (self.agreed or 0) + other.agreed

    def result(self) -> dict[str, float]:
        count = self.samples or np.nan
        metrics = {
            "snr_db": self.snr / count,
            "snr_min_db": self.snr_min if self.samples else np.nan,
            "cosine": self.cosine / count,
        }
        return (
            metrics if self.agreed is None else {**metrics, "agreement": self.agreed * 100 / count}
        )


@dataclass
class FidelityTotals(Accumulator):
    """Running totals of `Fidelity`, by output."""

    outputs: dict[str, _Totals] = field(default_factory=dict)

    def update(
        self,
        outputs: Mapping[str, NDArray[Any]],
        labels: NDArray[np.int64] | None,
        reference: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        """Compare one batch with the float model's outputs.

        Raises:
            DataError: there is no reference, or its outputs have other names or shapes.
        """
        if reference is None:
            raise DataError(
                "fidelity compares with the float model, and no outputs of it were given.",
                hint="Give evaluate() the float model as its reference.",
            )
        for name, values in outputs.items():
            if name not in reference or reference[name].shape != values.shape:
                shape = reference[name].shape if name in reference else "nothing"
                raise DataError(
                    f"Output '{name}' has shape {values.shape}, and the float model gives {shape}.",
                    hint="Compare a model with the network it was made from.",
                )
            self.outputs.setdefault(name, _Totals()).update(reference[name], values)

    def merge(self, other: Accumulator) -> None:
        """Add the totals of another part of the samples."""
        assert isinstance(other, FidelityTotals)
        for name, totals in other.outputs.items():
            self.outputs.setdefault(name, _Totals()).merge(totals)

    def result(self) -> dict[str, float]:
        """Return the metrics: plain for one output, per output and over all for several."""
        parts = {name: totals.result() for name, totals in self.outputs.items()}
        if not parts:
            return _Totals().result()
        if len(parts) == 1:
            return next(iter(parts.values()))
        named = {f"{name}.{key}": v for name, part in parts.items() for key, v in part.items()}
        return {**_over_outputs(list(parts.values())), **named}


class Fidelity(Evaluator):
    """How close the outputs are to the float model's; needs no labels.

    `snr_db` is the mean over samples of each sample's SNR in dB, `snr_min_db` the worst sample's,
    `cosine` the mean cosine, `agreement` the share of samples with the same highest class in
    percent (outputs with one score a class only). With several outputs the metrics come as
    `OUTPUT.metric` too, and the plain ones are their mean (`snr_min_db`: their minimum).
    """

    name = "fidelity"
    needs_reference = True
    headline = "snr_db"
    units: ClassVar[Mapping[str, str]] = {"snr_db": "dB", "snr_min_db": "dB", "agreement": "%"}

    def accumulator(self) -> FidelityTotals:
        """Return fresh running totals."""
        return FidelityTotals()


class ClassificationOptions(Options):
    """Options of the `classification` evaluator."""

    label_offset: int = Field(
        default=0, description="Added to labels: 1 for networks whose class 0 is the background."
    )
    output: str = Field(
        default="", description="The output with the scores; may be empty for only one."
    )


@dataclass
class ClassificationTotals(Accumulator):
    """Running totals of `Classification`.

    Args:
        options: where labels and scores are.
    """

    options: ClassificationOptions
    samples: int = 0
    first: int = 0
    among_five: int = 0
    classes: int = 0

    def update(
        self,
        outputs: Mapping[str, NDArray[Any]],
        labels: NDArray[np.int64] | None,
        reference: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        """Count one batch's hits.

        Raises:
            DataError: there are no labels, a label is no class, or the output holds no scores.
            RecipeError: the output named by the options does not exist, or none is named.
        """
        values = self._output(outputs)
        if _are_classes(values):
            chosen = values.reshape(-1)
            self.samples += len(chosen)
            self.first += int((chosen == self._wanted(labels, len(chosen))).sum())
            return
        scores = _flat(values)
        ranks = label_ranks(scores, self._classes(labels, scores.shape))
        self.samples += len(ranks)
        self.first += int((ranks == 0).sum())
        self.among_five += int((ranks < 5).sum())
        self.classes = scores.shape[1]

    def _output(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        name = self.options.output or next(iter(outputs))
        if name not in outputs or (not self.options.output and len(outputs) > 1):
            said = f"no output '{name}'" if name not in outputs else f"{len(outputs)} outputs"
            raise RecipeError(
                f"classification: the network has {said}.",
                hint=f"Set its option output. {nearest(name, outputs)}",
            )
        if not (_are_scores(outputs[name]) or _are_classes(outputs[name])):
            raise DataError(
                f"Output '{name}' of shape {outputs[name].shape} does not hold one score a class.",
                hint="Choose another with classification's option output, or use fidelity.",
            )
        return outputs[name]

    def _wanted(self, labels: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
        if labels is None or len(labels) != count:
            said = "none" if labels is None else len(labels)
            raise DataError(
                f"classification needs a label for each of {count} samples; there are {said}.",
                hint="Add labels.csv to the folder, or an array 'labels' to the npz.",
            )
        return labels + self.options.label_offset

    def _classes(
        self, labels: NDArray[np.int64] | None, shape: tuple[int, ...]
    ) -> NDArray[np.int64]:
        wanted = self._wanted(labels, shape[0])
        outside = wanted[(wanted < 0) | (wanted >= shape[1])]
        if len(outside):
            raise DataError(
                f"Class {outside[0]} (label {outside[0] - self.options.label_offset}) is not one of"
                f" the network's {shape[1]} classes, 0 to {shape[1] - 1}.",
                hint="Set classification's option label_offset to what must be added to a label"
                " to give its class (such as -1 for labels that start at 1).",
            )
        return wanted

    def merge(self, other: Accumulator) -> None:
        """Add the counts of another part of the samples."""
        assert isinstance(other, ClassificationTotals)
        self.samples += other.samples
        self.first += other.first
        self.among_five += other.among_five
        self.classes = max(self.classes, other.classes)

    def result(self) -> dict[str, float]:
        """Return top1, and top5 where there are more than five classes, in percent."""
        count = self.samples or np.nan
        top1 = {"top1": self.first * 100 / count}
        return {**top1, "top5": self.among_five * 100 / count} if self.classes > 5 else top1


class Classification(Evaluator):
    """Share of samples whose label has the highest score (`top1`), or one of five (`top5`), in %.

    `top5` is given for networks of more than five classes that give their scores; one that gives
    the number of the highest class alone has a `top1`.
    """

    name = "classification"
    Options = ClassificationOptions
    needs_labels = True
    headline = "top1"
    units: ClassVar[Mapping[str, str]] = {"top1": "%", "top5": "%"}

    def accumulator(self) -> ClassificationTotals:
        """Return fresh running totals."""
        return ClassificationTotals(self.options)


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(len(values) if values.ndim else 1, -1)


def _are_scores(values: NDArray[Any]) -> bool:
    """Whether a sample is one vector of at least two values: `(batch, n)`, `(batch, n, 1, 1)`."""
    return [size > 1 for size in values.shape[1:]].count(True) == 1


def _are_classes(values: NDArray[Any]) -> bool:
    """Whether a sample is one whole number, the class that the network chose (argmax)."""
    return values.dtype.kind in "iu" and values.ndim > 0 and values.size == len(values)


def _over_outputs(parts: list[dict[str, float]]) -> dict[str, float]:
    """Return each metric's mean over the outputs that have it; for a minimum, the minimum."""
    names = dict.fromkeys(name for part in parts for name in part)
    held = {name: [part[name] for part in parts if name in part] for name in names}
    return {
        name: float(np.min(values) if name == "snr_min_db" else np.mean(values))
        for name, values in held.items()
    }
