"""Dataset readers that each break one rule; `test_testing_kit.py` sees the contract catch them."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from fewbits.data import ArrayDataset, Batch, InputSpec, Request
from fewbits.errors import DataError
from fewbits.interfaces import DatasetReader
from fewbits.testing import DatasetReaderContract

LABELS = np.array([3, 1, 2, 0, 4])


class Lines(ArrayDataset):
    """One sample a line, in memory."""

    path = ""

    def describe(self):
        return {**super().describe(), "path": self.path}


class LineReader(DatasetReader):
    """Reads text files of numbers: simple, and sound."""

    name = "lines"
    dataset: ClassVar[type[Lines]] = Lines

    def accepts(self, path):
        return path.endswith(".txt")

    def open(self, request):
        samples = self.read(request)
        if request.count is not None and request.count > len(samples):
            raise DataError(f"{request.count} samples wanted.", hint="Ask for fewer.")
        count = len(samples) if request.count is None else request.count
        dataset = self.dataset({request.inputs[0].name: samples[:count]}, LABELS[:count])
        dataset.path = request.path
        return dataset

    def read(self, request):
        path = Path(request.path)
        if not path.exists():
            raise DataError(f"{path} is not there.", hint="Check the path.")
        return np.loadtxt(path, dtype=np.float32, ndmin=2)


class Contract(DatasetReaderContract):
    Fault: ClassVar[type[DatasetReader]]
    caught: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def reader(self):
        return self.Fault()

    @pytest.fixture
    def wanted(self, tmp_path):
        path = tmp_path / "samples.txt"
        np.savetxt(path, np.arange(15).reshape(5, 3))
        return Request(str(path), (InputSpec("x", (None, 3), np.dtype(np.float32)),))


class TestSound(Contract):
    Fault = LineReader


class TestAcceptsEverything(Contract):
    caught = ("test_it_accepts_its_own_path_and_no_other",)

    class Fault(LineReader):
        def accepts(self, path):
            return True


class TestGivesAnotherType(Contract):
    caught = ("test_samples_are_what_the_network_takes",)

    class Fault(LineReader):
        def read(self, request):
            return super().read(request).astype(np.float64)


class TestGivesAnotherShape(Contract):
    caught = ("test_samples_are_what_the_network_takes",)

    class Fault(LineReader):
        def read(self, request):
            return super().read(request)[:, :2]


class TestShuffles(Contract):
    caught = (
        "test_opening_again_gives_the_same_samples",
        "test_count_takes_the_first_samples",
    )

    class Fault(LineReader):
        def read(self, request):
            return super().read(request) + np.float32(np.random.default_rng().uniform())


class TestDropsTheLastBatch(Contract):
    caught = (
        "test_batch_size_does_not_matter",
        "test_labels_come_with_their_samples",
    )

    class Fault(LineReader):
        class dataset(Lines):  # noqa: N801
            def batches(self, size):
                return (batch for batch in super().batches(size) if len(batch) in (size, 5))


class TestForgetsTheLabels(Contract):
    caught = ("test_labels_come_with_their_samples",)

    class Fault(LineReader):
        class dataset(Lines):  # noqa: N801
            def batches(self, size):
                return (Batch(batch.inputs) for batch in super().batches(size))


class TestDescribesOnlyThePath(Contract):
    caught = (
        "test_description_can_be_written_down",
        "test_opening_again_gives_the_same_samples",
    )

    class Fault(LineReader):
        class dataset(Lines):  # noqa: N801
            def describe(self):
                return {"path": self.path, "count": len(self), "digest": object()}


class TestGivesFewerThanAsked(Contract):
    caught = ("test_more_samples_than_there_are_is_an_error",)

    class Fault(LineReader):
        def open(self, request):
            count = min(request.count or 5, 5)
            return super().open(Request(request.path, request.inputs, None, count))


class TestLetsErrorsThrough(Contract):
    caught = ("test_nothing_at_the_path_is_an_error",)

    class Fault(LineReader):
        def read(self, request):
            return np.loadtxt(request.path, dtype=np.float32)
