"""The readers and the evaluator keep their contracts."""

import numpy as np
import pytest
import vision_data
from fewbits.data import InputSpec, Request
from fewbits.framing import Framing
from fewbits.labels import Boxes, Regions, many
from fewbits.preprocess import Preprocess
from fewbits.testing import DatasetReaderContract, EvaluatorContract, Predictions
from fewbits_vision.coco import CocoReader
from fewbits_vision.detection import HEADS, Detection, DetectionOptions
from fewbits_vision.masks import MaskReader
from fewbits_vision.segmentation import Segmentation
from fewbits_vision.yolo import YoloReader
from PIL import Image

INPUTS = (InputSpec("image", (None, 3, 32, 32), np.dtype(np.float32)),)
PREPROCESS = Preprocess(resize=(32, 32), letterbox=114)


class TestYoloReader(DatasetReaderContract):
    @pytest.fixture
    def reader(self):
        return YoloReader()

    @pytest.fixture
    def wanted(self, tmp_path):
        return Request(str(vision_data.yolo(tmp_path / "set")), INPUTS, PREPROCESS)


class TestCocoReader(DatasetReaderContract):
    @pytest.fixture
    def reader(self):
        return CocoReader()

    @pytest.fixture
    def wanted(self, tmp_path):
        return Request(str(vision_data.coco(tmp_path)), INPUTS, PREPROCESS)


class TestMaskReader(DatasetReaderContract):
    @pytest.fixture
    def reader(self):
        return MaskReader()

    @pytest.fixture
    def wanted(self, tmp_path):
        return Request(str(vision_data.masks(tmp_path / "set")), INPUTS, PREPROCESS)


class TestSegmentation(EvaluatorContract):
    @pytest.fixture
    def evaluator(self):
        return Segmentation()

    @pytest.fixture
    def predictions(self, tmp_path):
        rng = np.random.default_rng(0)
        labels = []
        for number in range(10):
            file = tmp_path / f"{number}.png"
            Image.fromarray(rng.integers(0, 3, (6, 8), np.uint8)).save(file)
            labels.append(Regions(file, Framing((6, 8), (12, 16), (2.0, 2.0))))
        scores = rng.normal(size=(10, 3, 3, 4)).astype(np.float32)
        return Predictions({"y": scores}, many(labels), {"y": scores})


class TestDetection(EvaluatorContract):
    @pytest.fixture
    def evaluator(self):
        return Detection(DetectionOptions(decoder="boxes", score=0.01))

    @pytest.fixture
    def predictions(self):
        """Boxes near the true ones, with some that are nowhere."""
        rng = np.random.default_rng(0)
        framing = Framing((50, 80), (50, 80))
        labels, rows = [], np.zeros((12, 8, 6), np.float32)
        for picture in rows:
            corner = rng.uniform(0, 20, (5, 2))
            corners = np.concatenate([corner, corner + rng.uniform(10, 30, (5, 2))], axis=1)
            classes = rng.integers(0, 3, 5)
            labels.append(Boxes(classes, corners, framing, np.zeros(5, bool)))
            picture[:5, :4] = corners + rng.normal(0, 2, (5, 4))
            picture[5:, :4] = (1, 1, 9, 9)
            picture[:, 4] = rng.uniform(0.1, 1, 8)
            picture[:5, 5] = classes
        return Predictions({"boxes": rows}, many(labels), {"boxes": rows})


def test_every_head_can_be_asked_for():
    field = DetectionOptions.model_fields["decoder"]
    assert set(HEADS) == set(field.annotation.__args__)
