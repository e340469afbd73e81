from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fewbits_demo.digits import ASSETS, Digits

MEGABYTE = 1_000_000


def arrays(path):
    file, _, key = path.partition("#")
    with np.load(file, allow_pickle=False) as held:
        return held[key], held["labels"]


@pytest.fixture(scope="module")
def graph():
    return onnx.load(Digits().network()).graph


def test_float_accuracy_on_pictures_it_has_never_seen():
    images, labels = arrays(Digits().evaluation())
    pixels = images.transpose(0, 3, 1, 2).astype(np.float32)
    session = ort.InferenceSession(Digits().network(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": (pixels - 73) / 90})
    assert (logits.argmax(axis=1) == labels).mean() >= 0.98


def test_preprocessing_is_the_one_it_was_trained_with():
    images, _ = arrays(Digits().evaluation())
    expected = (images.transpose(0, 3, 1, 2).astype(np.float32) - 73) / 90
    np.testing.assert_allclose(Digits().preprocess().normalize(images), expected, rtol=1e-6)


def test_calibration_and_evaluation_share_no_picture():
    seen = {image.tobytes() for image in arrays(Digits().calibration())[0]}
    assert not [image for image in arrays(Digits().evaluation())[0] if image.tobytes() in seen]


@pytest.mark.parametrize("path", [Digits().calibration(), Digits().evaluation()])
def test_every_class_is_there(path):
    images, labels = arrays(path)
    assert images.dtype == np.uint8
    assert images.shape == (len(labels), 8, 8, 1)
    assert set(labels.tolist()) == set(range(10))


def test_network_and_data_are_small():
    sizes = {path.name: path.stat().st_size for path in ASSETS.iterdir()}
    assert set(sizes) == {"digits.onnx", "train.npz", "test.npz"}
    assert sizes["digits.onnx"] < 0.6 * MEGABYTE
    assert sizes["train.npz"] + sizes["test.npz"] < 0.4 * MEGABYTE


def test_network_has_every_structure_that_quantization_meets(graph):
    ops = [node.op_type for node in graph.node]
    groups = [a.i for n in graph.node for a in n.attribute if a.name == "group" and a.i > 1]
    assert {"BatchNormalization", "Clip", "GlobalAveragePool", "Sigmoid", "Mul", "Gemm"} < set(ops)
    assert ops.count("Add") == 5
    assert len(groups) == 6


def test_file_tells_nothing_of_the_machine_that_wrote_it(graph):
    model = onnx.load(Digits().network())
    assert not model.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in graph.node)
    assert str(Path.home()).encode() not in Digits().network().read_bytes()
