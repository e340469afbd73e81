"""The real detector on real pictures, which lie beside the repository."""

from dataclasses import replace
from pathlib import Path

import fewbits
import pytest
from fewbits.preprocess import parse_preprocess

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
NETWORK = SHARED / "models" / "FastestDet.onnx"
PICTURES = SHARED / "data" / "coco128" / "images"
PREPROCESS = "resize=352x352,interpolation=area,std=255,channels=BGR"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (NETWORK.is_file() and PICTURES.is_dir()), reason="needs ../shared"),
]


def test_float_and_eight_bits_find_what_they_are_known_to_find():
    from fewbits_vision.detection import Detection, DetectionOptions

    model = replace(fewbits.parse(NETWORK), preprocess=parse_preprocess(PREPROCESS))
    model = fewbits.optimize(
        model, calibration=PICTURES / "train2017", recipe="quantize:precision=a8_w8"
    )
    judge = Detection(DetectionOptions(decoder="fastestdet"))
    measured = fewbits.evaluate(
        model, PICTURES / "val2017", evaluators=[judge], reader="yolo:classes=80,missing=empty"
    )
    whole = measured.reference_metrics["detection"]["mAP50"]
    assert whole == pytest.approx(34.9, abs=0.6)
    assert measured.metrics["detection"]["mAP50"] == pytest.approx(whole, abs=1.0)
