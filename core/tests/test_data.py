import numpy as np
import onnx_ir as ir
import pytest
from fewbits.data import ArrayDataset, Batch, Dataset, InputSpec, Subset, input_specs_of, take
from fewbits.errors import DataError
from fewbits.model import Model
from hypothesis import given
from hypothesis import strategies as st


class Stream(Dataset):
    """The least that a dataset can be: it can only be read from the start."""

    def __init__(self, length, *, labelled=True):
        self.length = length
        self.labels = np.arange(length) * 10 if labelled else None

    def __len__(self):
        return self.length

    def batches(self, size):
        for start in range(0, self.length, size):
            rows = np.arange(start, min(start + size, self.length))
            yield Batch({"x": rows[:, None]}, None if self.labels is None else rows * 10)

    def describe(self):
        return {"path": "stream", "count": self.length, "digest": "d"}


def read(dataset, size):
    batches = list(dataset.batches(size))
    assert all(len(batch) == size for batch in batches[:-1])
    return [int(x) for batch in batches for x in batch.inputs["x"][:, 0]]


@given(
    length=st.integers(1, 40),
    size=st.integers(1, 15),
    chosen=st.sets(st.integers(0, 39)),
    labelled=st.booleans(),
)
def test_a_subset_of_a_stream_is_what_indexing_says(length, size, chosen, labelled):
    rows = sorted(row for row in chosen if row < length)
    part = Stream(length, labelled=labelled).select(rows)
    assert read(part, size) == rows
    assert len(part) == len(rows)
    got = [batch.labels for batch in part.batches(size)]
    if labelled:
        assert [int(x) for labels in got for x in labels] == [row * 10 for row in rows]
        assert part.labels.tolist() == [row * 10 for row in rows]
    else:
        assert part.labels is None
        assert all(labels is None for labels in got)


@given(st.lists(st.integers(0, 8)), st.integers(1, 5))
def test_arrays_in_memory_are_selected_in_any_order(rows, size):
    whole = ArrayDataset({"x": np.arange(9)[:, None]}, np.arange(9) * 10)
    part = whole.select(rows)
    assert read(part, size) == rows
    assert part.labels.tolist() == [row * 10 for row in rows]


def test_a_stream_cannot_go_back():
    for rows in ([3, 1], [2, 2]):
        with pytest.raises(DataError, match="do not rise"):
            Stream(5).select(rows)


@pytest.mark.parametrize("rows", [[5], [-1]])
def test_a_row_that_is_not_there_is_an_error(rows):
    for whole in (Stream(5), ArrayDataset({"x": np.zeros((5, 1))})):
        with pytest.raises(DataError, match=f"Sample {rows[0]} "):
            whole.select(rows)


def test_take_gives_the_first_or_says_how_many_there_are():
    assert read(take(Stream(5), 3), 2) == [0, 1, 2]
    with pytest.raises(DataError, match="holds 5 samples, fewer than the 6"):
        take(Stream(5), 6)
    with pytest.raises(DataError, match="holds no samples"):
        take(Stream(0), 1)


def test_a_subset_says_what_it_was_made_of():
    about = Subset(Stream(9), [1, 4]).describe()
    assert (about["path"], about["count"], about["rows"]) == ("stream", 2, [1, 4])
    assert about["digest"] != Subset(Stream(9), [1, 5]).describe()["digest"]


def test_the_graph_says_what_it_asks_for():
    network = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 17]>'
        "g (float[N, 3, 8, W] picture, int64[2, 4] tokens, float[2] weight)"
        " => (float[N] y) <float[2] weight = {1, 2}> { y = Relu(picture) }"
    )
    assert input_specs_of(Model("toy", network)) == (
        InputSpec("picture", (None, 3, 8, None), np.dtype(np.float32)),
        InputSpec("tokens", (2, 4), np.dtype(np.int64)),
    )


@pytest.mark.parametrize(
    ("shape", "fits"),
    [((9, 3, 8, 5), True), ((1, 3, 8, 5), True), ((1, 3, 7, 5), False), ((1, 3, 8), False)],
)
def test_samples_fit_an_input_whatever_the_batch(shape, fits):
    assert InputSpec("x", (4, 3, 8, None), np.dtype(np.float32)).fits(shape) is fits
