"""Evaluators that each break one rule; `test_testing_kit.py` sees the contract catch them."""

from typing import ClassVar

import numpy as np
import pytest
from fewbits.errors import DataError
from fewbits.interfaces import Accumulator, Evaluator
from fewbits.testing import (
    EvaluatorContract,
)


class ErrorTotals(Accumulator):
    def __init__(self):
        self.total, self.count = 0.0, 0

    def update(self, outputs, labels, reference):
        if reference is None:
            raise DataError("error needs a reference.", hint="Give the float model.")
        self.add(outputs, reference)

    def add(self, outputs, reference):
        for name, array in outputs.items():
            self.total += float(np.abs(array - reference[name]).sum())
            self.count += array.size

    def merge(self, other):
        self.total += other.total
        self.count += other.count

    def result(self):
        return {"error": self.total / max(self.count, 1)}


class Distance(Evaluator):
    """Mean absolute error."""

    name = "error"
    needs_reference = True
    headline = "error"
    units: ClassVar[dict[str, str]] = {"error": ""}
    Totals: ClassVar[type[Accumulator]] = ErrorTotals

    def accumulator(self):
        return self.Totals()


class EvaluatorFaults(EvaluatorContract):
    Fault: ClassVar[type[Evaluator]]
    caught: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def evaluator(self):
        return self.Fault()


class TestEvaluatorSound(EvaluatorFaults):
    Fault = Distance


class TestEvaluatorTrustsThatAReferenceIsThere(EvaluatorFaults):
    caught = ("test_needs_are_declared",)

    class Fault(Distance):
        class Totals(ErrorTotals):
            def update(self, outputs, labels, reference):
                self.add(outputs, reference)


class TestEvaluatorHidesItsNeed(EvaluatorFaults):
    caught = (
        "test_accumulators_share_nothing",
        "test_batch_size_does_not_matter",
        "test_headline_and_units_name_metrics_of_the_result",
        "test_merging_two_parts_equals_seeing_all",
        "test_needs_are_declared",
        "test_result_is_named_and_finite",
    )

    class Fault(Distance):
        needs_reference = False


class TestEvaluatorDoesNotMerge(EvaluatorFaults):
    caught = ("test_merging_two_parts_equals_seeing_all",)

    class Fault(Distance):
        class Totals(ErrorTotals):
            def merge(self, other):
                pass


class TestEvaluatorAveragesBatches(EvaluatorFaults):
    caught = (
        "test_batch_size_does_not_matter",
        "test_merging_two_parts_equals_seeing_all",
    )

    class Fault(Distance):
        class Totals(ErrorTotals):
            def add(self, outputs, reference):
                for name, array in outputs.items():
                    self.total += float(np.abs(array - reference[name]).mean())
                    self.count += 1


class TestEvaluatorNamesAnotherHeadline(EvaluatorFaults):
    caught = ("test_headline_and_units_name_metrics_of_the_result",)

    class Fault(Distance):
        headline = "accuracy"


class TestEvaluatorGivesNumpyNumbers(EvaluatorFaults):
    caught = ("test_result_is_named_and_finite",)

    class Fault(Distance):
        class Totals(ErrorTotals):
            def result(self):
                return {"error": np.float64(self.total / max(self.count, 1))}


class TestEvaluatorSharesItsTotals(EvaluatorFaults):
    caught = ("test_accumulators_share_nothing",)

    class Fault(Distance):
        def __init__(self, options=None):
            super().__init__(options)
            self.shared = ErrorTotals()

        def accumulator(self):
            return self.shared
