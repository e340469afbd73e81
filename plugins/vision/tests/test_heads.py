"""Each head's formula, written out once more for a cell."""

import math

import numpy as np
import pytest
from fewbits.errors import DataError
from fewbits_vision import heads
from fewbits_vision.heads import Asked

RNG = np.random.default_rng(0)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def corners(cx, cy, w, h):
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def test_plain_boxes_are_pixels():
    rows = np.array([[[8.0, 4, 32, 16, 0.9, 3], [0, 0, 1, 1, 0.0, 0]]])
    (found,) = heads.plain([rows], Asked((32, 64)))
    assert found.corners.tolist() == [[0.125, 0.125, 0.5, 0.5]]
    assert (found.scores.tolist(), found.classes.tolist()) == ([0.9], [3])


def test_fastestdet_cell_by_cell():
    maps = RNG.normal(size=(2, 8, 3, 4))
    maps[:, 0] = RNG.uniform(0.1, 1, (2, 3, 4))
    maps[:, 5:] = RNG.uniform(0.1, 1, (2, 3, 3, 4))
    found = list(heads.fastestdet([maps], Asked((96, 128), score=0.0)))
    for n, row, column in ((0, 0, 0), (0, 2, 1), (1, 1, 3)):
        y = maps[n, :, row, column]
        at = row * 4 + column
        box = corners(
            (column + math.tanh(y[1])) / 4,
            (row + math.tanh(y[2])) / 3,
            sigmoid(y[3]),
            sigmoid(y[4]),
        )
        assert found[n].corners[at] == pytest.approx(box)
        assert found[n].classes[at] == y[5:].argmax()
        assert found[n].scores[at] == pytest.approx(y[0] ** 0.6 * y[5:].max() ** 0.4)
        assert found[n].known == 3


def test_yolov5_raw_maps_equal_their_decoded_form():
    """The formula of the network's own last layer, for one cell of each of two maps."""
    asked = Asked((64, 64), score=0.0)
    maps = [RNG.normal(size=(1, 3 * 7, side, side)) for side in (8, 4)]
    for order in (maps, maps[::-1]):
        (found,) = heads.yolov5(order, asked)
        start = 0
        for map_, anchors in zip(maps, heads.YOLOV5_ANCHORS, strict=False):
            side = map_.shape[2]
            anchor, row, column = 1, 2, 3
            y = map_.reshape(3, 7, side, side)[anchor, :, row, column]
            box = corners(
                (sigmoid(y[0]) * 2 - 0.5 + column) / side,
                (sigmoid(y[1]) * 2 - 0.5 + row) / side,
                (sigmoid(y[2]) * 2) ** 2 * anchors[2] / 64,
                (sigmoid(y[3]) * 2) ** 2 * anchors[3] / 64,
            )
            at = 2 * (start + (anchor * side + row) * side + column)
            assert found.corners[at] == pytest.approx(box)
            assert found.scores[at] == pytest.approx(sigmoid(y[4]) * sigmoid(y[5]))
            assert found.scores[at + 1] == pytest.approx(sigmoid(y[4]) * sigmoid(y[6]))
            start += 3 * side * side


def test_yolov5_decoded():
    rows = np.array([[[32.0, 16, 8, 4, 0.5, 0.4, 0.0]]])
    (found,) = heads.yolov5([rows], Asked((32, 64)))
    assert found.corners.tolist() == [corners(0.5, 0.5, 0.125, 0.125)]
    assert (found.scores.tolist(), found.classes.tolist(), found.known) == ([0.2], [0], 2)


def test_yolov8_raw_maps_cell_by_cell():
    bins = 5
    sides, scores = RNG.normal(size=(1, 4 * bins, 3, 4)), RNG.normal(size=(1, 2, 3, 4))
    (found,) = heads.yolov8([sides, scores], Asked((96, 128), score=0.0))
    row, column = 1, 3
    far = []
    for side in range(4):
        weights = [math.exp(v) for v in sides[0, side * bins : (side + 1) * bins, row, column]]
        far.append(sum(k * w for k, w in enumerate(weights)) / sum(weights))
    x, y = column + 0.5, row + 0.5
    box = [(x - far[0]) / 4, (y - far[1]) / 3, (x + far[2]) / 4, (y + far[3]) / 3]
    at = 2 * (row * 4 + column)
    assert found.corners[at] == pytest.approx(box)
    assert found.scores[at + 1] == pytest.approx(sigmoid(scores[0, 1, row, column]))
    (plain,) = heads.yolov8([sides, abs(scores)], Asked((96, 128), score=0.0, logits=False))
    assert plain.scores[at + 1] == pytest.approx(abs(scores[0, 1, row, column]))


def test_yolov8_decoded():
    columns = np.array([[[32.0, 0], [16, 0], [8, 0], [4, 0], [0.0, 0], [0.7, 0]]])
    (found,) = heads.yolov8([columns], Asked((32, 64)))
    assert found.corners.tolist() == [corners(0.5, 0.5, 0.125, 0.125)]
    assert (found.scores.tolist(), found.classes.tolist()) == ([0.7], [1])


def test_ssd_leaves_the_background_out_and_takes_outputs_in_either_order():
    boxes = np.array([[[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.5, 0.5]]])
    scores = np.array([[[0.2, 0.0, 0.8], [0.9999, 0.0, 0.0001]]])
    for outputs in ([boxes, scores], [scores, boxes]):
        (found,) = heads.ssd(outputs, Asked((300, 300)))
        assert found.corners.tolist() == [[0.1, 0.2, 0.3, 0.4]]
        assert (found.scores.tolist(), found.classes.tolist(), found.known) == ([0.8], [2], 3)


def test_ssd_offsets_move_and_stretch_the_priors():
    offsets = np.array([[[1.0, -2.0, math.log(4) / 0.2, 0.0]]])
    priors = np.array([[0.5, 0.5, 0.2, 0.1]])
    (found,) = heads.ssd([offsets, np.array([[[0.0, 1.0]]])], Asked((9, 9), priors=priors))
    assert found.corners[0] == pytest.approx(corners(0.52, 0.48, 0.8, 0.1))
    with pytest.raises(DataError, match="priors have shape"):
        list(heads.ssd([offsets, offsets[..., :2]], Asked((9, 9), priors=priors[[0, 0]])))


@pytest.mark.parametrize(
    ("head", "shapes"),
    [
        (heads.plain, [(1, 5, 7)]),
        (heads.plain, [(1, 5, 6), (1, 5, 6)]),
        (heads.fastestdet, [(1, 5, 22, 22)]),
        (heads.fastestdet, [(1, 1000)]),
        (heads.yolov5, [(1, 1000)]),
        (heads.yolov5, [(1, 20, 4, 4)]),
        (heads.yolov5, [(1, 21, 4, 4)] * 4),
        (heads.yolov8, [(1, 64, 4, 4)]),
        (heads.yolov8, [(1, 62, 4, 4), (1, 80, 4, 4)]),
        (heads.yolov8, [(1, 64, 4, 4), (1, 80, 8, 8)]),
        (heads.ssd, [(1, 9, 5), (1, 9, 6)]),
        (heads.ssd, [(1, 9, 4)]),
    ],
)
def test_outputs_of_another_head_are_refused(head, shapes):
    with pytest.raises(DataError) as caught:
        list(head([np.zeros(shape) for shape in shapes], Asked((32, 32))))
    assert "outputs" in caught.value.hint
