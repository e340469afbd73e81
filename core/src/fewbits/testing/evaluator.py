"""The contract of evaluators."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fewbits.errors import FewbitsError
from fewbits.interfaces import Accumulator, Configurable, Evaluator
from fewbits.labels import Labels
from fewbits.testing.component import ComponentContract


@dataclass(frozen=True)
class Predictions:
    """What a network predicted, with what it should have predicted.

    Args:
        outputs: output name → array, batch first.
        labels: one a sample, shape `(samples,)`.
        reference: the float model's outputs, as `outputs`.
    """

    outputs: Mapping[str, NDArray[Any]]
    labels: Labels
    reference: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int) -> "Predictions":
        """Return the samples from `start` up to `stop`."""
        outputs = {name: array[start:stop] for name, array in self.outputs.items()}
        reference = {name: array[start:stop] for name, array in self.reference.items()}
        return Predictions(outputs, self.labels[start:stop], reference)


def classifier_predictions(samples: int = 24, classes: int = 10, seed: int = 0) -> Predictions:
    """Return logits of a passable classifier, and those of a float model that is a bit better."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    logits = rng.normal(size=(samples, classes)).astype(np.float32)
    logits[np.arange(samples), labels] += 2
    noisy = logits + rng.normal(0, 0.3, logits.shape).astype(np.float32)
    for array in (labels, logits, noisy):
        array.setflags(write=False)
    return Predictions({"logits": noisy}, labels, {"logits": logits})


class EvaluatorContract(ComponentContract):
    """What every evaluator promises. Give the fixture `evaluator`.

    Override the fixture `predictions` when the outputs are something else than class scores.
    """

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        """Return the evaluator under test; the subclass gives it."""
        raise NotImplementedError("give the fixture `evaluator`")

    @pytest.fixture
    def component(self, evaluator: Evaluator) -> Configurable:
        """Return the evaluator, for the tests of its options."""
        return evaluator

    @pytest.fixture
    def predictions(self) -> Predictions:
        """Return read-only predictions of at least eight samples."""
        return classifier_predictions()

    def test_result_is_named_and_finite(
        self, evaluator: Evaluator, predictions: Predictions
    ) -> None:
        result = feed(evaluator, predictions, len(predictions)).result()
        assert result
        assert all(result), "no metric has an empty name"
        bad = {n: v for n, v in result.items() if type(v) is not float or not math.isfinite(v)}
        assert not bad, "metrics are finite Python floats"

    def test_headline_and_units_name_metrics_of_the_result(
        self, evaluator: Evaluator, predictions: Predictions
    ) -> None:
        result = feed(evaluator, predictions, len(predictions)).result()
        assert evaluator.headline in result
        assert evaluator.headline in evaluator.units
        assert set(evaluator.units) <= set(result)

    @pytest.mark.parametrize("size", [1, 5])
    def test_batch_size_does_not_matter(
        self, evaluator: Evaluator, predictions: Predictions, size: int
    ) -> None:
        whole = feed(evaluator, predictions, len(predictions)).result()
        assert feed(evaluator, predictions, size).result() == pytest.approx(whole, rel=1e-6)

    @pytest.mark.parametrize("cut", [0, 7])
    def test_merging_two_parts_equals_seeing_all(
        self, evaluator: Evaluator, predictions: Predictions, cut: int
    ) -> None:
        first = feed(evaluator, predictions.part(0, cut), 4)
        first.merge(feed(evaluator, predictions.part(cut, len(predictions)), 4))
        whole = feed(evaluator, predictions, len(predictions)).result()
        assert first.result() == pytest.approx(whole, rel=1e-6)

    def test_accumulators_share_nothing(
        self, evaluator: Evaluator, predictions: Predictions
    ) -> None:
        first = feed(evaluator, predictions, 4)
        result = first.result()
        feed(evaluator, predictions.part(0, 3), 4)
        assert first.result() == result

    def test_needs_are_declared(self, evaluator: Evaluator, predictions: Predictions) -> None:
        """Without what it does not need it works; without what it needs it says so."""
        _update(evaluator.accumulator(), evaluator, predictions)
        bare = {"labels": (None, predictions.reference), "reference": (predictions.labels, None)}
        needed = {"labels": evaluator.needs_labels, "reference": evaluator.needs_reference}
        for what in (name for name, needs in needed.items() if needs):
            with pytest.raises(FewbitsError) as caught:
                evaluator.accumulator().update(predictions.outputs, *bare[what])
            assert what.removesuffix("s") in f"{caught.value.message} {caught.value.hint}"


def feed(evaluator: Evaluator, predictions: Predictions, size: int) -> Accumulator:
    """Return fresh totals that have seen `predictions`, `size` samples at a time."""
    totals = evaluator.accumulator()
    for start in range(0, len(predictions), size):
        _update(totals, evaluator, predictions.part(start, start + size))
    return totals


def _update(totals: Accumulator, evaluator: Evaluator, part: Predictions) -> None:
    labels = part.labels if evaluator.needs_labels else None
    totals.update(part.outputs, labels, part.reference if evaluator.needs_reference else None)
