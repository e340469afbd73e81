from types import SimpleNamespace

import numpy as np
import pytest
from fewbits.builtin.arrays import ArrayReader
from fewbits.builtin.images import ImageReader
from fewbits.component import Component
from fewbits.data import ArrayDataset, InputSpec
from fewbits.datasource import from_arrays, open_dataset, reopen
from fewbits.errors import DataError, PluginError
from fewbits.interfaces import DatasetReader
from fewbits.preprocess import Preprocess
from PIL import Image

SPECS = (InputSpec("input", (None, 3, 4, 4), np.dtype(np.float32)),)
SAID = Preprocess(mean=(3,), std=(2,))


class Readers:
    """What open_dataset asks of a registry, with these readers in it."""

    def __init__(self, *classes):
        self.classes = {cls.name: cls for cls in classes}

    def components(self, kind):
        assert kind == "dataset"
        names = self.classes
        return [SimpleNamespace(component=Component(kind, n, "", "m:c")) for n in names]

    def create(self, kind, name, options):
        if name not in self.classes:
            raise PluginError(f"There is no {kind} {name}.")
        return self.classes[name]()


class Greedy(DatasetReader):
    name = "greedy"

    def accepts(self, path):
        return True

    def open(self, request):
        return ArrayDataset({"input": np.zeros((1, 3, 4, 4), np.float32)})


class Hungry(Greedy):
    name = "hungry"


class Broken(Greedy):
    name = "broken"

    def accepts(self, path):
        raise RuntimeError("out of order")


BUILTIN = Readers(ImageReader, ArrayReader)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    for value in range(5):
        Image.new("RGB", (4, 4), (value, 0, 0)).save(tmp_path / "pictures" / f"{value}.png")
    return tmp_path / "pictures"


def first_values(dataset):
    return [float(x[0, 0, 0]) for batch in dataset.batches(2) for x in batch.inputs["input"]]


def test_each_path_finds_its_reader(folder, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3, 4, 4), np.float32))
    opened = open_dataset(folder, SPECS, registry=BUILTIN, preprocess=SAID, count=3)
    assert first_values(opened) == [-1.5, -1.0, -0.5]
    arrays = open_dataset(str(tmp_path / "x.npy"), SPECS, registry=BUILTIN)
    assert first_values(arrays) == [1, 1]


def test_a_path_that_nobody_claims(tmp_path):
    with pytest.raises(DataError, match="no file or folder"):
        open_dataset(tmp_path / "none", SPECS, registry=BUILTIN)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match=r"No reader takes .*a\.txt") as caught:
        open_dataset(tmp_path / "a.txt", SPECS, registry=BUILTIN)
    assert "images, arrays" in caught.value.hint


def test_a_path_that_two_claim_needs_the_readers_name(folder):
    both = Readers(ImageReader, Greedy, Hungry)
    with pytest.raises(DataError, match="greedy, hungry"):
        open_dataset(folder, SPECS, registry=both)
    named = open_dataset(folder, SPECS, registry=both, reader="images", preprocess=SAID)
    assert len(named) == 5
    with pytest.raises(PluginError, match="nobody"):
        open_dataset(folder, SPECS, registry=both, reader="nobody")


def test_a_general_reader_leaves_a_path_to_another_that_claims_it(folder):
    assert ImageReader.general
    for readers in (Readers(ImageReader, Greedy), Readers(Greedy, ImageReader)):
        assert len(open_dataset(folder, SPECS, registry=readers)) == 1


def test_a_reader_that_fails_to_answer_stops_no_other_and_is_named(folder, tmp_path):
    with_broken = Readers(Broken, ImageReader)
    assert len(open_dataset(folder, SPECS, registry=with_broken, preprocess=SAID)) == 5
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path / "a.txt", SPECS, registry=with_broken)
    assert "broken failed: out of order" in caught.value.hint


@pytest.mark.parametrize("rows", [None, [4, 0, 2]])
@pytest.mark.parametrize("count", [None, 5])
def test_what_was_described_opens_again(folder, rows, count):
    first = open_dataset(folder, SPECS, registry=BUILTIN, preprocess=SAID, count=count)
    first = first if rows is None else first.select(rows)
    again = reopen(first.describe(), SPECS, registry=BUILTIN)
    assert first_values(again) == first_values(first)
    assert again.describe() == first.describe()


def test_arrays_open_again(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.ones((4, 3, 4, 4)), two=np.zeros((4, 4, 4, 3), np.uint8))
    for key in ("one", "two"):
        path = f"{tmp_path / 'a.npz'}#{key}"
        first = open_dataset(path, SPECS, registry=BUILTIN, preprocess=SAID, count=2)
        assert reopen(first.describe(), SPECS, registry=BUILTIN).describe() == first.describe()


def test_changed_data_does_not_open_again(folder):
    about = open_dataset(folder, SPECS, registry=BUILTIN, preprocess=SAID).describe()
    Image.new("RGB", (4, 4)).save(folder / "3.png")
    with pytest.raises(DataError, match="is not what it was"):
        reopen(about, SPECS, registry=BUILTIN)


def test_data_given_in_memory_cannot_be_opened_again():
    about = ArrayDataset({"input": np.zeros((1, 3, 4, 4), np.float32)}).describe()
    with pytest.raises(DataError, match="in memory"):
        reopen(about, SPECS, registry=BUILTIN)


def test_arrays_in_memory_follow_the_rules_of_files(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "a.npz", input=pictures, labels=np.arange(5))
    file = open_dataset(tmp_path / "a.npz", SPECS, registry=BUILTIN, preprocess=SAID)
    memory = from_arrays(pictures, SPECS, preprocess=SAID, labels=np.arange(5))
    assert first_values(memory) == first_values(file)
    assert memory.labels.tolist() == file.labels.tolist()
    assert memory.describe()["digest"] == file.describe()["digest"]
    assert first_values(memory.select([3, 1])) == [first_values(file)[i] for i in (3, 1)]
    with pytest.raises(DataError, match="in memory"):
        reopen(memory.describe(), SPECS, registry=BUILTIN)


@pytest.mark.parametrize(
    ("arrays", "labels", "message"),
    [
        (np.zeros((2, 3, 4, 5), np.float32), None, r"array of 'input' gives samples of shape"),
        (np.zeros((2, 4, 4, 3), np.uint8), None, r"array of 'input' .* not said"),
        ({"other": np.zeros((2, 3, 4, 4), np.float32)}, None, "inputs are input.*for other"),
        (np.zeros((2, 3, 4, 4), np.float32), [1, 2, 3], "holds 3 labels for 2"),
        (np.full((2, 3, 4, 4), np.nan), None, "array of 'input' holds NaN"),
    ],
)
def test_arrays_in_memory_that_do_not_fit(arrays, labels, message):
    with pytest.raises(DataError, match=message):
        from_arrays(arrays, SPECS, labels=labels)


@pytest.mark.parametrize("channels", ["RGB", "BGR", "GRAY"])
@pytest.mark.parametrize("resize", [None, 4, (5, 6)])
def test_the_same_pictures_as_files_and_as_an_array_give_the_same_inputs(
    tmp_path, channels, resize
):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 7, 9, 3), np.uint8)
    for index, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    said = Preprocess(resize=resize, crop=4, channels=channels, mean=(7,), std=(3,))
    depth = 1 if channels == "GRAY" else 3
    specs = (InputSpec("input", (None, depth, 4, 4), np.dtype(np.float32)),)
    files = open_dataset(tmp_path, specs, registry=BUILTIN, preprocess=said)
    arrays = from_arrays(pictures, specs, preprocess=said)
    for file, array in zip(files.batches(2), arrays.batches(2), strict=True):
        assert np.array_equal(file.inputs["input"], array.inputs["input"])


def test_bad_pictures_are_left_out_only_by_readers_that_can(folder):
    names = sorted(path for path in folder.rglob("*.png"))
    names[1].write_bytes(b"no picture")
    asked = {"registry": Readers(ImageReader), "preprocess": SAID}
    data = open_dataset(folder, SPECS, skip_bad=True, **asked)
    assert sum(map(len, data.batches(2))) == len(data) == len(names) - 1
    (reason,) = data.describe()["skipped"]
    assert str(names[1]) in reason
    again = reopen(data.describe(), SPECS, registry=Readers(ImageReader))
    assert len(again) == len(data)
    if data.labels is not None:
        assert len(data.labels) == len(data)
    with pytest.raises(DataError, match="'greedy'"):
        open_dataset(folder, SPECS, registry=Readers(Greedy), skip_bad=True)
    for name in names:
        name.write_bytes(b"")
    with pytest.raises(DataError, match="pictures are bad"):
        open_dataset(folder, SPECS, skip_bad=True, **asked)
