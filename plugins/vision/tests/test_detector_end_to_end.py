"""A detector of one layer through the front door: data by path, reader and evaluator by name."""

from dataclasses import replace

import fewbits
import numpy as np
import onnx
import pytest
import vision_data
from fewbits.errors import DataError
from fewbits.plugins import from_environment
from fewbits.preprocess import Preprocess
from onnx import TensorProto, helper


@pytest.fixture
def model(tmp_path):
    """Return a 1×1 convolution from the picture to FastestDet's eight channels."""
    weight = np.random.default_rng(0).normal(0, 0.01, (8, 3, 1, 1)).astype(np.float32)
    bias = np.array([0.5, 0, 0, 0, 0, 0.2, 0.5, 0.3], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="head", kernel_shape=[1, 1])],
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8, 4, 4])],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    file = tmp_path / "detector.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), file)
    parsed = fewbits.parse(file)
    return replace(parsed, preprocess=Preprocess(resize=(4, 4), std=255))


def detection(**options):
    return from_environment().create("evaluator", "detection", {"decoder": "fastestdet", **options})


def test_full_precision_and_emulator_stand_side_by_side(model, tmp_path):
    root = vision_data.yolo(tmp_path / "set")
    quantized = fewbits.optimize(model, calibration=root, recipe="quantize")
    measured = fewbits.evaluate(
        quantized, root, evaluators=[detection(), "fidelity"], reader="yolo:classes=3"
    )
    assert set(measured.metrics["detection"]) == {"mAP50", "mAP75", "mAP50_95"}
    assert set(measured.reference_metrics) == {"detection"}
    assert (measured.images, measured.data["reader"]) == (4, "yolo:classes=3")
    by_default = fewbits.evaluate(quantized, root)
    assert list(by_default.metrics) == ["fidelity"], "boxes are not for `classification`"


def test_labels_of_another_kind_are_refused_before_the_network_runs(model, tmp_path):
    root = vision_data.yolo(tmp_path / "set")
    with pytest.raises(DataError, match=r"needs labels \(class indices\), and the data has boxes"):
        fewbits.evaluate(model, root, target="native", evaluators=["classification"])
    samples = {"x": np.zeros((2, 3, 4, 4), np.float32), "labels": np.zeros(2, np.int64)}
    with pytest.raises(DataError, match=r"needs labels \(boxes\), and the data has class indices"):
        fewbits.evaluate(model, samples, target="native", evaluators=[detection()])


def test_what_needs_no_labels_does_not_ask_for_them(model, tmp_path):
    root = vision_data.yolo(tmp_path / "set")
    (root / "labels" / "val" / "c.txt").unlink()
    measured = fewbits.evaluate(model, root, target="native", evaluators=["fidelity"])
    assert measured.images == 4


def test_bad_samples_are_left_out_where_that_is_asked_for(model, tmp_path):
    root = vision_data.yolo(tmp_path / "set")
    (root / "labels" / "val" / "b.txt").write_text("1 2 3\n")
    with pytest.raises(DataError, match=r"b\.txt line 1 has 3 fields"):
        fewbits.evaluate(model, root, target="native", evaluators=[detection()])
    measured = fewbits.evaluate(
        model, root, target="native", evaluators=[detection()], skip_bad=True
    )
    assert (measured.images, len(measured.data["skipped"])) == (3, 1)
