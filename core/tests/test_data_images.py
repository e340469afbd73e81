import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from fewbits.builtin.images import ImageReader
from fewbits.data import InputSpec, Request, take
from fewbits.errors import DataError
from fewbits.preprocess import Preprocess, parse_preprocess
from PIL import Image

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
SPEC = InputSpec("input", (None, 3, 8, 8), np.dtype(np.float32))
PLAIN = Preprocess(crop=8)


def picture(path, value, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "I;16", "I", "F") else (value,) * len(mode)).save(
        path
    )


def opened(folder, *, preprocess=PLAIN, count=None, spec=SPEC):
    return ImageReader().open(Request(str(folder), (spec,), preprocess, count))


def values(dataset, size=3):
    """The first value of each sample, in the order in which the batches bring them."""
    return [int(x[0, 0, 0]) for batch in dataset.batches(size) for x in batch.inputs["input"]]


@pytest.fixture
def listed(tmp_path):
    for value in range(7):
        picture(tmp_path / f"{9 - value}.png", value)
    lines = [f"{9 - value}.png,{value * 10}" for value in range(7)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,index", *lines]))
    return tmp_path


def test_labels_csv_gives_order_and_labels(listed):
    dataset = opened(listed)
    assert values(dataset) == [0, 1, 2, 3, 4, 5, 6]
    assert dataset.labels.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert [batch.labels.tolist() for batch in dataset.batches(4)] == [
        [0, 10, 20, 30],
        [40, 50, 60],
    ]


@pytest.mark.parametrize("header", ["Filename, Label", "path,class", "image,wnid,target"])
def test_other_column_names_are_understood(listed, header):
    columns = len(header.split(","))
    row = "9.png,n01,4" if columns == 3 else "9.png, 4"
    (listed / "labels.csv").write_text(f"\ufeff{header}\n{row}\n", encoding="utf-8")
    assert opened(listed).labels.tolist() == [4]


def test_class_folders_are_numbered_by_name(tmp_path):
    picture(tmp_path / "dog" / "a.png", 3)
    picture(tmp_path / "cat" / "b.jpg", 2)
    picture(tmp_path / "cat" / "a.png", 1)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    dataset = opened(tmp_path)
    assert dataset.labels.tolist() == [0, 0, 1]
    assert values(dataset) == [1, 2, 3]


def test_a_class_folder_without_pictures_keeps_its_index(tmp_path):
    picture(tmp_path / "a" / "deeper" / "x.png", 1)
    (tmp_path / "b").mkdir()
    picture(tmp_path / "c" / "x.png", 2)
    assert opened(tmp_path).labels.tolist() == [0, 2]


def test_loose_pictures_are_sorted_and_have_no_labels(tmp_path):
    for name, value in (("b.png", 2), ("a.png", 1), (".hidden.png", 9)):
        picture(tmp_path / name, value)
    dataset = opened(tmp_path)
    assert values(dataset) == [1, 2]
    assert dataset.labels is None
    assert next(iter(dataset.batches(8))).labels is None


def test_count_takes_the_first(listed):
    assert values(opened(listed, count=2)) == [0, 1]
    assert values(take(opened(listed), 3)) == [0, 1, 2]


def test_fewer_than_asked_says_how_many_there_are(listed):
    with pytest.raises(DataError, match="holds 7 samples, fewer than the 8"):
        opened(listed, count=8)
    with pytest.raises(DataError, match="0 samples"):
        opened(listed, count=0)


def test_select_takes_any_order_and_keeps_labels(listed):
    part = opened(listed).select([5, 0, 3])
    assert values(part, 2) == [5, 0, 3]
    assert part.labels.tolist() == [50, 0, 30]
    assert values(part.select([2, 0])) == [3, 5]
    assert part.describe()["rows"] == [5, 0, 3]
    with pytest.raises(DataError, match="Sample 7"):
        opened(listed).select([7])


def test_digest_follows_content_and_choice_and_not_labels(listed):
    before = opened(listed).describe()
    assert before["count"] == 7
    assert before["reader"] == "images"
    assert before["preprocess"] == "crop=8"
    part = opened(listed).select([1, 2]).describe()["digest"]
    (listed / "labels.csv").write_text(
        (listed / "labels.csv").read_text().replace("9.png,0", "9.png,5")
    )
    assert opened(listed).describe()["digest"] == before["digest"]
    picture(listed / "9.png", 77)
    assert opened(listed).describe()["digest"] != before["digest"]
    assert opened(listed).select([1, 2]).describe()["digest"] == part


def test_digest_is_the_same_before_and_after_reading(listed):
    read, unread = opened(listed), opened(listed)
    values(read)
    assert read.describe() == unread.describe()


def test_digest_decodes_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture at all")
    assert len(opened(tmp_path).describe()["digest"]) == 64


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("L", 7, 7), ("RGBA", 7, 7), ("LA", 7, 7), ("I;16", 0x1234, 0x12), ("1", 1, 255)],
)
def test_other_kinds_of_pictures_become_rgb(tmp_path, mode, value, expected):
    if mode == "1":
        Image.new("1", (8, 8), 1).save(tmp_path / "a.png")
    else:
        picture(tmp_path / "a.png", value, mode=mode)
    assert values(opened(tmp_path)) == [expected]


def test_cmyk_and_palette_become_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.jpg")
    palette = Image.new("RGB", (8, 8), (5, 6, 7)).quantize(4)
    palette.save(tmp_path / "b.png", transparency=b"\x00\x80")
    assert values(opened(tmp_path)) == [255, 5]


def test_grey_network_takes_grey_pictures(tmp_path):
    picture(tmp_path / "a.png", 9, mode="L")
    picture(tmp_path / "b.png", 4)
    spec = InputSpec("input", (None, 1, 8, 8), np.dtype(np.float32))
    said = Preprocess(channels="GRAY")
    assert values(opened(tmp_path, preprocess=said, spec=spec)) == [9, 4]


def test_32_bit_pictures_are_an_error_that_names_the_file(tmp_path):
    picture(tmp_path / "a.tif", 7, mode="F")
    with pytest.raises(DataError, match=r"a\.tif holds 32-bit"):
        values(opened(tmp_path))


@pytest.mark.parametrize("damage", ["text", "empty", "truncated", "header"])
def test_a_damaged_picture_is_named(tmp_path, damage):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / "b.jpg").read_bytes()
    broken = {
        "text": b"hello",
        "empty": b"",
        "truncated": whole[: len(whole) - 60],
        "header": whole[:30],
    }
    (tmp_path / "b.jpg").write_bytes(broken[damage])
    with pytest.raises(DataError, match=r"b\.jpg cannot be read as a picture") as caught:
        values(opened(tmp_path))
    assert caught.value.hint


def test_a_picture_too_small_for_the_crop_is_named_with_its_size(tmp_path):
    picture(tmp_path / "a.png", 1, size=(8, 6))
    with pytest.raises(DataError, match=r"a\.png is 6x8 .* 8x8"):
        values(opened(tmp_path))


def test_a_picture_of_the_wrong_size_is_named_with_both_sizes(tmp_path):
    picture(tmp_path / "a.png", 1)
    picture(tmp_path / "b.png", 1, size=(10, 9))
    with pytest.raises(DataError, match=r"b\.png \(9x10\).*\(batch, 3, 8, 8\)") as caught:
        values(opened(tmp_path, preprocess=Preprocess()))
    assert "--preprocess" in caught.value.hint


def test_pictures_of_different_sizes_cannot_share_a_batch(tmp_path):
    picture(tmp_path / "a.png", 1)
    picture(tmp_path / "b.png", 2, size=(8, 9))
    spec = InputSpec("input", (None, 3, None, None), np.dtype(np.float32))
    dataset = opened(tmp_path, preprocess=Preprocess(), spec=spec)
    assert values(dataset, 1) == [1, 2]
    with pytest.raises(DataError, match=r"\(3, 8, 8\) and \(3, 9, 8\)"):
        values(dataset, 2)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_threads_changes_nothing(listed, workers):
    reader = ImageReader(ImageReader.Options(workers=workers))
    assert values(reader.open(Request(str(listed), (SPEC,), PLAIN))) == list(range(7))


@pytest.mark.parametrize(
    "said", [Preprocess(crop=7), Preprocess(crop=8, layout="NHWC"), Preprocess(resize=(8, 9))]
)
def test_a_wrong_size_is_told_before_anything_is_read(tmp_path, said):
    with pytest.raises(DataError, match=r"Every picture .* input is 'input'"):
        opened(tmp_path, preprocess=said)


def test_pictures_without_preprocessing_are_an_error_with_the_remedy(listed):
    with pytest.raises(DataError, match="not said") as caught:
        opened(listed, preprocess=None)
    assert "--preprocess 'resize=" in caught.value.hint


def test_missing_empty_and_mixed_folders(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        opened(tmp_path / "none")
    with pytest.raises(DataError, match="no pictures"):
        opened(tmp_path)
    picture(tmp_path / "a.png", 1)
    picture(tmp_path / "cat" / "b.png", 1)
    with pytest.raises(DataError, match=r"a\.png.*cat/b\.png"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,index\nnone.png,3\n", r"labels\.csv line 2 .*none\.png"),
        ("file,index\n9.png,3\n8.png,cat\n", "line 3 has the label 'cat'"),
        ("file,index\n9.png\n", "line 2 has the label ''"),
        ("file,index\n,3\n", "line 2 names the picture ''"),
        ("9.png,3\n", r"no column .* says: 9\.png, 3"),
        ("file,name\n9.png,tench\n", "no column index or label"),
        ("file,index\n", "lists no pictures"),
        ("", "no column"),
    ],
)
def test_a_wrong_labels_csv_is_told_with_its_line(listed, table, message):
    (listed / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        opened(listed)


def test_labels_csv_that_is_no_text(listed):
    (listed / "labels.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match=r"labels\.csv cannot be read"):
        opened(listed)


def test_a_file_that_goes_away_is_named(listed):
    dataset = opened(listed)
    (listed / "6.png").unlink()
    with pytest.raises(DataError, match=r"6\.png cannot be read"):
        values(dataset)


def test_a_network_of_two_inputs_needs_arrays(listed):
    request = Request(str(listed), (SPEC, SPEC), PLAIN)
    with pytest.raises(DataError, match="has 2") as caught:
        ImageReader().open(request)
    assert "npz" in caught.value.hint


def test_stopping_early_ends_the_threads(listed):
    batches = opened(listed).batches(2)
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("fewbits-read")]


@pytest.mark.parametrize("size", [1, 4, 7, 50])
def test_every_size_of_batch_brings_the_same(listed, size):
    dataset = opened(listed)
    assert values(dataset, size) == list(range(7))
    assert values(dataset, size) == list(range(7))


@pytest.mark.skipif(not (SHARED / "peers" / "judge.py").exists(), reason="needs ../shared")
def test_inputs_are_bit_identical_to_an_independent_reading(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SHARED / "peers"))
    judge = pytest.importorskip("judge")
    monkeypatch.delitem(sys.modules, "judge")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = judge.rows()
    chosen = [0, 1, 17, 500, 501, 999]
    monkeypatch.setattr(judge, "rows", lambda: [rows[i] for i in chosen])
    expected = judge.normalized(np.arange(len(chosen)))
    said = parse_preprocess("resize=256,crop=224,mean=127,std=128")
    spec = InputSpec("input", (None, 3, 224, 224), np.dtype(np.float32))
    part = opened(judge.IMAGES, preprocess=said, spec=spec).select(chosen)
    got = np.concatenate([batch.inputs["input"] for batch in part.batches(4)])
    assert np.array_equal(got, expected)
    assert part.labels.tolist() == chosen
