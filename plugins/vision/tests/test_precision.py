"""Mean average precision against numbers worked out by hand."""

import numpy as np
import pytest
from fewbits.errors import DataError, RecipeError
from fewbits.framing import Framing
from fewbits.labels import Boxes, many
from fewbits_vision.detection import Detection, DetectionOptions

SQUARE = (0, 0, 10, 10)
FAR = (60, 60, 70, 70)


def measured(pictures, framing=None, **options):
    """Measure pictures of (boxes with class and crowd, boxes with score and class)."""
    framing = framing or Framing((100, 100), (100, 100))
    total = Detection(DetectionOptions(**options)).accumulator()
    for truth, found in pictures:
        corners = np.array([box[:4] for box in truth], np.float64).reshape(-1, 4)
        classes = np.array([box[4] for box in truth], np.int64)
        crowd = np.array([len(box) > 5 for box in truth], bool)
        rows = np.array(found, np.float32).reshape(1, -1, 6)
        total.update({"y": rows}, many([Boxes(classes, corners, framing, crowd)]), None)
    return total.result()


def test_all_found_is_a_hundred_and_nothing_found_is_nothing():
    truth = [(*SQUARE, 0), (*FAR, 1)]
    assert measured([(truth, [(*SQUARE, 0.9, 0), (*FAR, 0.8, 1)])]) == pytest.approx(
        {"mAP50": 100.0, "mAP75": 100.0, "mAP50_95": 100.0}
    )
    assert measured([(truth, [])])["mAP50"] == 0
    assert np.isnan(measured([([], [(*SQUARE, 0.9, 0)])])["mAP50"])


def test_the_curve_of_one_hit_one_miss_and_one_late_hit():
    """Precision is 1 up to a recall of 1/2, then 2/3: 51 and 50 of 101 recalls."""
    truth = [(*SQUARE, 0), (*FAR, 0)]
    found = [(*SQUARE, 0.9, 0), (30, 30, 40, 40, 0.8, 0), (*FAR, 0.7, 0)]
    wanted = 100 * (51 + 50 * 2 / 3) / 101
    assert measured([(truth, found)])["mAP50"] == pytest.approx(wanted)
    parts = [(truth[:1], found[:2]), (truth[1:], found[2:])]
    assert measured(parts)["mAP50"] == pytest.approx(wanted)


def test_the_mean_is_over_classes_that_are_there():
    truth = [(*SQUARE, 0), (*FAR, 1)]
    found = [(*SQUARE, 0.9, 0), (*FAR, 0.9, 2)]
    assert measured([(truth, found)])["mAP50"] == pytest.approx(50)


def test_an_overlap_counts_up_to_its_threshold():
    """A box shifted by a fifth overlaps by 2/3: found at 0.5 to 0.65, four of ten thresholds."""
    result = measured([([(*SQUARE, 0)], [(2, 0, 12, 10, 0.9, 0)])])
    assert result == pytest.approx({"mAP50": 100.0, "mAP75": 0.0, "mAP50_95": 40.0})


def test_boxes_in_a_crowd_count_neither_way():
    truth = [(*SQUARE, 0), (50, 50, 90, 90, 0, "crowd")]
    found = [(50, 50, 60, 60, 0.9, 0), (60, 60, 70, 70, 0.8, 0), (*SQUARE, 0.7, 0)]
    assert measured([(truth, found)])["mAP50"] == pytest.approx(100)


def test_boxes_come_back_from_a_letterbox():
    """A picture twice as wide as high stands in the middle of a square input, halved."""
    framing = Framing((100, 200), (100, 100), (0.5, 0.5), (25, 0))
    truth = [(20, 10, 60, 50, 0)]
    right, wrong = (10, 30, 30, 50, 0.9, 0), (10, 5, 30, 25, 0.9, 0)
    assert measured([(truth, [right])], framing)["mAP50_95"] == pytest.approx(100)
    assert measured([(truth, [wrong])], framing)["mAP50"] == 0


def test_only_so_many_boxes_count():
    found = [(30, 30, 40, 40, 0.9, 1), (*SQUARE, 0.8, 0)]
    assert measured([([(*SQUARE, 0)], found)], max_detections=2)["mAP50"] == pytest.approx(100)
    assert measured([([(*SQUARE, 0)], found)], max_detections=1)["mAP50"] == 0
    assert measured([([(*SQUARE, 0)], found)], score=0.85)["mAP50"] == 0


def test_labels_are_brought_to_the_networks_classes():
    truth = [([(*SQUARE, 0), (*FAR, 1)], [(*SQUARE, 0.9, 7), (*FAR, 0.9, 4)])]
    assert measured(truth, class_map=(7, 4))["mAP50"] == pytest.approx(100)
    assert measured(truth, class_map=(6, 3), label_offset=1)["mAP50"] == pytest.approx(100)
    with pytest.raises(RecipeError, match="there is a label 1"):
        measured(truth, class_map=(7,))


def test_a_label_that_is_no_class_of_the_network_is_an_error():
    corners, framing = np.array([[0.0, 0, 1, 1]]), Framing((9, 9), (9, 9))
    boxes = many([Boxes(np.array([3]), corners, framing, np.zeros(1, bool))])
    total = Detection(DetectionOptions(decoder="fastestdet")).accumulator()
    with pytest.raises(DataError, match=r"label 3.*3 classes"):
        total.update({"y": np.ones((1, 8, 2, 2))}, boxes, None)


def test_class_indices_are_no_boxes_and_outputs_must_exist():
    total = Detection().accumulator()
    with pytest.raises(DataError, match="boxes"):
        total.update({"y": np.ones((1, 2, 6))}, np.array([1]), None)
    with pytest.raises(RecipeError, match="no output 'z'"):
        measured([([(*SQUARE, 0)], [])], outputs=("z",))
    for options in ({"anchors": (1.0, 2.0)}, {"priors": "absent.npy"}):
        with pytest.raises(RecipeError):
            Detection(DetectionOptions(**options)).accumulator()
