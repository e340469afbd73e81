"""Where pictures lie in inputs: against the pixels that the preprocessing itself makes."""

import numpy as np
import pytest
from fewbits.framing import Framing, frame
from fewbits.labels import Boxes, called, kind_of, many
from fewbits.preprocess import Preprocess
from PIL import Image

#: a picture black but for a white box: left, top, right, bottom.
BOX = (48, 30, 96, 78)
SIZE = (120, 160)

WAYS = [
    Preprocess(),
    Preprocess(resize=240),
    Preprocess(resize=(240, 160)),
    Preprocess(resize=(200, 200), letterbox=0),
    Preprocess(resize=(100, 300), letterbox=0, interpolation="linear"),
    Preprocess(resize=180, crop=150),
    Preprocess(resize=181, crop=(150, 151), rounding="torchvision"),
    Preprocess(central=0.8, resize=(224, 224)),
    Preprocess(crop_padding=32, resize=224),
    Preprocess(crop=(100, 140), stretch=(200, 70)),
]


@pytest.mark.parametrize("preprocess", WAYS, ids=Preprocess.to_text)
def test_the_box_is_where_the_white_pixels_are(preprocess):
    pixels = np.zeros((*SIZE, 3), np.uint8)
    left, top, right, bottom = BOX
    pixels[top:bottom, left:right] = 255
    seen = preprocess.pixels(Image.fromarray(pixels))[..., 0] > 127
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    framing = frame(preprocess, SIZE)
    assert framing.frame == seen.shape
    wanted = framing.seen(np.array([BOX], np.float64))[0]
    assert wanted.clip(0, [*seen.shape[::-1]] * 2) == pytest.approx(found, abs=1)


@pytest.mark.parametrize("preprocess", WAYS, ids=Preprocess.to_text)
def test_there_and_back(preprocess):
    corners = np.array([BOX, (0, 0, 160, 120)], np.float64)
    framing = frame(preprocess, SIZE)
    assert framing.pictured(framing.seen(corners)) == pytest.approx(corners)


def test_labels_say_what_they_are():
    boxes = Boxes(np.array([1]), np.zeros((1, 4)), Framing((1, 1), (1, 1)), np.zeros(1, bool))
    assert (kind_of(np.array([1])), kind_of(many([boxes, boxes]))) == (int, Boxes)
    assert (called(int), called(Boxes)) == ("class indices", "boxes")
    assert many([boxes])[[0, 0]].shape == (2,)
    other = Boxes(np.array([2]), boxes.corners, boxes.framing, boxes.crowd)
    assert boxes == Boxes(*(getattr(boxes, n) for n in ("classes", "corners", "framing", "crowd")))
    assert boxes != other
    assert boxes != 3
