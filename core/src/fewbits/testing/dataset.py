"""The contract of dataset readers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fewbits.data import Dataset, Request
from fewbits.errors import DataError
from fewbits.interfaces import Configurable, DatasetReader
from fewbits.testing.component import ComponentContract


class DatasetReaderContract(ComponentContract):
    """What every dataset reader promises. Give the fixtures `reader` and `wanted`."""

    @pytest.fixture
    def reader(self) -> DatasetReader:
        """Return the reader under test; the subclass gives it."""
        raise NotImplementedError("give the fixture `reader`")

    @pytest.fixture
    def wanted(self, tmp_path: Path) -> Request:
        """Return a request, without a count, for a path with at least three samples."""
        raise NotImplementedError("give the fixture `wanted`")

    @pytest.fixture
    def component(self, reader: DatasetReader) -> Configurable:
        """Return the reader, for the tests of its options."""
        return reader

    def test_it_accepts_its_own_path_and_no_other(
        self, reader: DatasetReader, wanted: Request, tmp_path: Path
    ) -> None:
        assert reader.accepts(wanted.path)
        assert not reader.accepts(str(tmp_path / "letter.docx"))

    def test_samples_are_what_the_network_takes(
        self, reader: DatasetReader, wanted: Request
    ) -> None:
        arrays = gathered(reader.open(wanted), 2)
        assert list(arrays) == [spec.name for spec in wanted.inputs]
        for spec in wanted.inputs:
            found = arrays[spec.name]
            assert found.dtype == spec.dtype
            pairs = list(zip(spec.shape, found.shape, strict=True))[1:]
            assert all(want in (None, size) for want, size in pairs), spec.name

    @pytest.mark.parametrize("size", [1, 2, 1000])
    def test_batch_size_does_not_matter(
        self, reader: DatasetReader, wanted: Request, size: int
    ) -> None:
        dataset = reader.open(wanted)
        assert same(gathered(dataset, size), gathered(dataset, 3))
        lengths = [len(batch) for batch in dataset.batches(size)]
        assert sum(lengths) == len(dataset)
        assert all(length == size for length in lengths[:-1])

    def test_opening_again_gives_the_same_samples(
        self, reader: DatasetReader, wanted: Request
    ) -> None:
        first, second = reader.open(wanted), reader.open(wanted)
        assert same(gathered(first, 2), gathered(second, 2))
        assert first.describe() == second.describe()

    def test_count_takes_the_first_samples(self, reader: DatasetReader, wanted: Request) -> None:
        everything, two = reader.open(wanted), reader.open(replace(wanted, count=2))
        assert len(two) == 2
        start = {name: array[:2] for name, array in gathered(everything, 2).items()}
        assert same(gathered(two, 2), start)

    def test_description_can_be_written_down(self, reader: DatasetReader, wanted: Request) -> None:
        dataset, two = reader.open(wanted), reader.open(replace(wanted, count=2))
        said = dataset.describe()
        json.dumps(said, allow_nan=False)
        assert said["path"] == wanted.path
        assert said["count"] == len(dataset)
        assert said["digest"] != two.describe()["digest"]

    def test_labels_come_with_their_samples(self, reader: DatasetReader, wanted: Request) -> None:
        dataset = reader.open(wanted)
        batches = [batch.labels for batch in dataset.batches(2)]
        if dataset.labels is None:
            assert all(labels is None for labels in batches)
            return
        assert dataset.labels.dtype in (np.int64, object), "class indices, or `labels.many`"
        assert dataset.labels.shape == (len(dataset),)
        given = [labels for labels in batches if labels is not None]
        assert len(given) == len(batches), "every batch carries its labels"
        assert np.array_equal(np.concatenate(given), dataset.labels)

    def test_more_samples_than_there_are_is_an_error(
        self, reader: DatasetReader, wanted: Request
    ) -> None:
        count = len(reader.open(wanted)) + 1
        with pytest.raises(DataError) as caught:
            reader.open(replace(wanted, count=count))
        assert str(count) in caught.value.message
        assert caught.value.hint, "say what helps"

    def test_nothing_at_the_path_is_an_error(self, reader: DatasetReader, wanted: Request) -> None:
        path = Path(wanted.path)
        absent = str(path.with_name(f"absent{path.suffix}"))
        with pytest.raises(DataError) as caught:
            reader.open(replace(wanted, path=absent))
        assert "absent" in caught.value.message, "name the path"
        assert caught.value.hint, "say what helps"


def gathered(dataset: Dataset, size: int) -> dict[str, NDArray[Any]]:
    """Return input name → all samples, read `size` at a time."""
    batches = list(dataset.batches(size))
    return {
        name: np.concatenate([np.asarray(batch.inputs[name]) for batch in batches])
        for name in batches[0].inputs
    }


def same(first: dict[str, NDArray[Any]], second: dict[str, NDArray[Any]]) -> bool:
    """Whether both hold the same arrays, bit for bit."""
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )
