"""What the readers make of good folders, and what they say of bad ones."""

import json
from dataclasses import replace

import numpy as np
import pytest
import vision_data
from fewbits.data import InputSpec, Request
from fewbits.datasource import open_dataset, reopen
from fewbits.errors import DataError
from fewbits.plugins import from_environment
from fewbits.preprocess import Preprocess
from fewbits_vision.coco import CocoOptions, CocoReader
from fewbits_vision.yolo import YoloOptions, YoloReader

INPUTS = (InputSpec("image", (None, 3, 32, 32), np.dtype(np.float32)),)
PREPROCESS = Preprocess(resize=(32, 32))


def yolo(path, skip_bad=False, **options):
    request = Request(str(path), INPUTS, PREPROCESS, skip_bad=skip_bad)
    return YoloReader(YoloOptions(**options)).open(request)


def coco(path, skip_bad=False, **options):
    request = Request(str(path), INPUTS, PREPROCESS, skip_bad=skip_bad)
    return CocoReader(CocoOptions(**options)).open(request)


def read(dataset):
    """Return (class, corners) of each picture's boxes."""
    return [
        [(kind, *box) for kind, box in zip(b.classes.tolist(), b.corners.tolist(), strict=True)]
        for b in dataset.labels
    ]


def approx_objects():
    return [[pytest.approx(box) for box in boxes] for boxes in vision_data.OBJECTS.values()]


def test_yolo_in_each_layout(tmp_path):
    root = vision_data.yolo(tmp_path / "set")
    assert read(yolo(root)) == approx_objects()
    assert read(yolo(root / "images" / "val")) == approx_objects()
    beside = root / "images" / "val"
    for text in (root / "labels" / "val").iterdir():
        text.rename(beside / text.name)
    (root / "labels" / "val").rmdir()
    assert read(yolo(beside)) == approx_objects()


def test_coco_in_order_and_by_ids(tmp_path):
    file = vision_data.coco(tmp_path)
    assert read(coco(file)) == approx_objects()
    kinds = [[box[0] for box in boxes] for boxes in read(coco(file, categories="ids"))]
    assert kinds == [[3, 1], [], [90], [3]]
    assert read(coco(file, images=str(tmp_path / "val"))) == approx_objects()


def test_the_folder_is_claimed_by_one_reader(tmp_path):
    root, registry = vision_data.yolo(tmp_path / "set"), from_environment()
    opened = open_dataset(root, INPUTS, registry=registry, preprocess=PREPROCESS)
    assert opened.describe()["reader"] == "yolo"
    plain = open_dataset(
        root / "images" / "val", INPUTS, registry=registry, preprocess=PREPROCESS, reader="images"
    )
    assert plain.labels is None
    file = vision_data.coco(tmp_path / "coco")
    opened = open_dataset(file, INPUTS, registry=registry, preprocess=PREPROCESS)
    assert opened.describe()["reader"] == "coco"


def test_boxes_follow_the_picture_into_another_input(tmp_path):
    data = yolo(vision_data.yolo(tmp_path / "set"))
    wider = (InputSpec("image", (None, 3, 16, 64), np.dtype(np.float32)),)
    other = data.fitted(wider, Preprocess(resize=(16, 64), letterbox=0))
    assert data.labels[0].framing.frame == (32, 32)
    assert other.labels[0].framing.frame == (16, 64)
    assert np.array_equal(other.labels[0].corners, data.labels[0].corners)
    assert len(other.select([2, 0]).labels) == 2


def test_calibration_needs_no_labels(tmp_path):
    root = vision_data.yolo(tmp_path / "set")
    (root / "labels" / "val" / "c.txt").unlink()
    data = YoloReader().open(Request(str(root), INPUTS, PREPROCESS, labelled=False))
    assert len(data) == 4
    assert data.labels is None
    file = vision_data.coco(tmp_path / "coco")
    assert CocoReader().open(Request(str(file), INPUTS, PREPROCESS, labelled=False)).labels is None


BAD_LINES = {
    "9 0.5 0.5 0.1 0.1": "line 2 has the class 9, which is none, 0 to 2",
    "-1 0.5 0.5 0.1 0.1": "line 2 has the class -1",
    "0.5 0.5 0.5 0.1 0.1": "line 2 has the class 0.5",
    "1 0.5 0.5 0.1": "line 2 has 4 fields",
    "1 0.5 0.5 0.1 0.1 0.2 0.3": "line 2 has 7 fields",
    "1 0.5 half 0.1 0.1": "line 2 is not five numbers",
    "1 0.9 0.5 0.4 0.1": "line 2 has a box outside the picture",
    "1 300 200 50 50": "line 2 has a box outside the picture",
    "1 0.5 0.5 0 0.1": "line 2 has a box without area",
    "1 nan 0.5 0.1 0.1": "line 2 has a box without area",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_named_by_file_and_line_or_left_out_and_counted(tmp_path, line):
    root = vision_data.yolo(tmp_path / "set")
    text = root / "labels" / "val" / "d.txt"
    text.write_text(f"{vision_data.line(1, 3, 4, 33, 24)}\n{line}\n")
    with pytest.raises(DataError) as caught:
        yolo(root, classes=3)
    assert f"{text} {BAD_LINES[line]}" in caught.value.message
    assert caught.value.hint
    data = yolo(root, classes=3, skip_bad=True)
    assert len(data) == 3
    (reason,) = data.describe()["skipped"]
    assert reason == caught.value.message


def test_boxes_that_reach_out_by_rounding_are_cut_off(tmp_path):
    root = vision_data.yolo(tmp_path / "set")
    (root / "labels" / "val" / "b.txt").write_text("0 0.5 0.5 1.01 1.0\n")
    assert read(yolo(root))[1] == [(0, 0.0, 0.0, 60.0, 40.0)]


def test_a_missing_text_file_is_an_error_unless_it_means_nothing_is_there(tmp_path):
    root = vision_data.yolo(tmp_path / "set")
    (root / "labels" / "val" / "c.txt").unlink()
    with pytest.raises(DataError, match=r"c\.png has no label file.*c\.txt"):
        yolo(root)
    assert read(yolo(root, missing="empty"))[2] == []
    assert len(yolo(root, skip_bad=True)) == 3


def test_unreadable_pictures_are_named_or_left_out(tmp_path):
    root = vision_data.yolo(tmp_path / "set")
    picture = root / "images" / "val" / "a.png"
    whole = picture.read_bytes()
    picture.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        yolo(root)
    picture.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        list(yolo(root).batches(4))
    data = yolo(root, skip_bad=True)
    assert sum(map(len, data.batches(2))) == 3
    assert "a.png" in data.describe()["skipped"][0]
    again = reopen(data.describe(), INPUTS, registry=from_environment(), labelled=False)
    assert len(again) == 3
    for each in root.glob("images/val/*"):
        each.write_bytes(b"")
    with pytest.raises(DataError, match="All 4 pictures are bad"):
        yolo(root, skip_bad=True)


def change(file, **changes):
    """Rewrite entries of the first of each list; None takes a key out."""
    held = json.loads(file.read_text())
    for name, values in changes.items():
        for key, value in values.items():
            if value is None:
                held[name][0].pop(key)
            else:
                held[name][0][key] = value
    file.write_text(json.dumps(held))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotations": {"category_id": 5}}, "annotation 500 has the category 5"),
        ({"annotations": {"bbox": [1, 2, 3]}}, "annotation 500 has the bbox"),
        ({"annotations": {"bbox": [50, 2, 30, 4]}}, "annotation 500 has a box outside"),
        ({"annotations": {"bbox": [50, 2, 0, 4]}}, "annotation 500 has a box without area"),
        ({"images": {"height": 41}}, "is 40x60 .* says 41x60"),
    ],
)
def test_a_bad_annotation_is_named_or_its_picture_left_out(tmp_path, changes, said):
    file = vision_data.coco(tmp_path)
    change(file, **changes)
    with pytest.raises(DataError, match=said):
        coco(file)
    data = coco(file, skip_bad=True)
    assert (len(data), len(data.describe()["skipped"])) == (3, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotations": {"image_id": 77}}, "annotation 500 is of image 77"),
        ({"images": {"file_name": "absent.png"}}, "were not found"),
        ({"images": {"file_name": None}}, r"images\[0\] has no 'file_name'"),
    ],
)
def test_a_file_that_does_not_hold_together_is_an_error(tmp_path, changes, said):
    file = vision_data.coco(tmp_path)
    change(file, **changes)
    with pytest.raises(DataError, match=said):
        coco(file)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"images": 3}'])
def test_what_is_no_coco_file_is_an_error(tmp_path, text):
    file = tmp_path / "some.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"some\.json"):
        coco(file)


def test_fewer_samples_than_asked_for_and_other_folders(tmp_path):
    root = vision_data.yolo(tmp_path / "set")
    wanted = Request(str(root), INPUTS, PREPROCESS, 5)
    with pytest.raises(DataError, match="fewer than the 5"):
        YoloReader().open(wanted)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no folder of pictures"):
        YoloReader().open(replace(wanted, path=str(empty)))
