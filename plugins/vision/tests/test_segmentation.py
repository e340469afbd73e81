"""Confusions against numbers worked out by hand, and places against the preprocessing's pixels."""

import numpy as np
import pytest
import vision_data
from fewbits.data import InputSpec, Request
from fewbits.errors import DataError, RecipeError
from fewbits.framing import Framing, frame
from fewbits.labels import Regions, many
from fewbits.preprocess import Preprocess
from fewbits_vision.masks import MaskReader
from fewbits_vision.segmentation import Segmentation, SegmentationOptions, picked, places
from PIL import Image

INPUTS = (InputSpec("image", (None, 3, 32, 32), np.dtype(np.float32)),)


def one_hot(classes, count=3):
    return np.eye(count, dtype=np.float32)[np.asarray(classes)].transpose(2, 0, 1)[None]


@pytest.fixture
def measured(tmp_path):
    def measure(true, outputs, framing=None, **options):
        true = np.asarray(true, np.uint8)
        file = tmp_path / "true.png"
        Image.fromarray(true).save(file)
        regions = Regions(file, framing or Framing(true.shape, true.shape))
        total = Segmentation(SegmentationOptions(**options)).accumulator()
        outputs = outputs if isinstance(outputs, dict) else {"y": outputs}
        total.update(outputs, many([regions]), None)
        return total.result()

    return measure


def test_the_mean_is_over_classes_that_are_there(measured):
    """Class 0: 2 of 3, class 1: 1 of 2; class 2 is nowhere."""
    result = measured([[0, 0, 0, 1]], one_hot([[0, 0, 1, 1]]))
    assert result == pytest.approx({"mIoU": 100 * (2 / 3 + 1 / 2) / 2, "pixels": 75.0})


def test_ignored_pixels_count_for_nothing(measured):
    assert measured([[0, 255, 1]], one_hot([[0, 2, 1]]))["mIoU"] == pytest.approx(100)
    assert measured([[0, 7, 1]], one_hot([[0, 2, 1]]), ignore=7)["pixels"] == pytest.approx(100)
    nothing = measured([[255, 255]], one_hot([[0, 1]]))
    assert all(np.isnan(value) for value in nothing.values())


def test_classes_in_place_of_scores_and_labels_that_start_at_one(measured):
    found = np.array([[[0, 1, 2]]])
    assert measured([[1, 2, 3]], found, classes=3, label_offset=-1)["mIoU"] == pytest.approx(100)
    assert measured([[1, 2, 3]], found[:, None], classes=3, label_offset=-1)["mIoU"] > 99
    with pytest.raises(DataError, match="gives no scores"):
        measured([[0, 1, 2]], found)


def test_what_does_not_fit_is_named(measured):
    with pytest.raises(DataError, match=r"true\.png has the class 3.*none of 3"):
        measured([[0, 3]], one_hot([[0, 1]]))
    with pytest.raises(DataError, match="network gives the class 5"):
        measured([[0, 1]], np.array([[[0, 5]]]), classes=3)
    with pytest.raises(RecipeError, match="2 outputs"):
        measured([[0]], {"y": one_hot([[0]]), "z": one_hot([[0]])})
    total = Segmentation().accumulator()
    with pytest.raises(DataError, match="regions"):
        total.update({"y": one_hot([[0]])}, np.array([1]), None)


def test_scores_are_interpolated_before_the_highest_is_taken():
    """Two cells, four pixels: scores of class 1 at -1/4, 1/4, 3/4, 5/4 of the way from 0.2 to 1."""
    scores = np.array([[[0.45, 0.45]], [[0.2, 1.0]]])
    rows, columns, _ = places(Framing((1, 4), (1, 4)), (1, 2))
    assert picked(scores, rows, columns).tolist() == [[0, 0, 1, 1]]


WAYS = [
    Preprocess(resize=(24, 48)),
    Preprocess(resize=(64, 64), letterbox=0),
    Preprocess(resize=48, crop=40),
]


@pytest.mark.parametrize("preprocess", WAYS, ids=Preprocess.to_text)
def test_a_network_that_shows_its_input_is_nearly_right(tmp_path, preprocess):
    """The mask goes through the preprocessing as a picture does, and must come back."""
    true = np.zeros((40, 60), np.uint8)
    true[8:30, 20:44] = 1
    Image.fromarray(true).save(tmp_path / "mask.png")
    seen = preprocess.pixels(Image.fromarray(true * 255))[..., 0] > 127
    regions = Regions(tmp_path / "mask.png", frame(preprocess, true.shape))
    total = Segmentation().accumulator()
    total.update({"y": one_hot(seen.astype(int), 2)}, many([regions]), None)
    assert total.result()["mIoU"] > 92
    if preprocess.crop is not None:
        assert total.pixels.sum() < true.size
    else:
        assert total.pixels.sum() == true.size


def opened(root, **asked):
    return MaskReader().open(Request(str(root), INPUTS, Preprocess(resize=(32, 32)), **asked))


def test_masks_are_read_with_their_pictures(tmp_path):
    root = vision_data.masks(tmp_path / "set")
    data = opened(root)
    assert len(data) == 4
    assert data.labels[2].classes()[20, 35] == 2
    assert opened(root / "images" / "val").labels[0].file.name == "a.png"
    palette = root / "masks" / "val" / "c.png"
    coloured = Image.open(palette).convert("P", palette=Image.Palette.ADAPTIVE)
    places_before = np.asarray(coloured)
    coloured.save(palette)
    assert np.array_equal(opened(root).labels[2].classes(), places_before)


def test_bad_masks_are_named_or_left_out(tmp_path):
    root = vision_data.masks(tmp_path / "set")
    folder = root / "masks" / "val"
    (folder / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png has no mask"):
        opened(root)
    Image.new("L", (9, 9)).save(folder / "a.png")
    with pytest.raises(DataError, match=r"a\.png is 9x9 .* its picture 40x60"):
        opened(root)
    Image.new("RGB", (60, 40)).save(folder / "b.png")
    with pytest.raises(DataError, match=r"b\.png holds colours"):
        Regions(folder / "b.png", Framing((40, 60), (32, 32))).classes()
    data = opened(root, skip_bad=True)
    assert len(data) == 2
    assert len(data.describe()["skipped"]) == 2
    assert opened(root, labelled=False).labels is None
