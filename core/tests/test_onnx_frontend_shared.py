"""The shared networks compute after parsing what they compute in their files."""

import itertools
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from fewbits.builtin.onnx_frontend import OnnxFrontend, OnnxOptions

MODELS = Path(__file__).resolve().parents[2].parent / "shared" / "models"
pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="the shared networks are not here")

NETWORKS = {
    "FastestDet": 70,
    "ch_ppocr_mobile_v2.0_cls_infer": 54,
    "efficientnet_lite0": 50,
    "efficientnet_lite0_bn": 50,
    "mobilenetv1_025_vww96_mlperftiny": 28,
    "mobilenetv2_tfquant_dequant": 53,
    "resnet20_cifar10_bn": 20,
}
LEFT_OVER = {"BatchNormalization", "Constant", "Identity", "Dropout", "Shape", "MatMul"}


def parsed(name):
    shape = (3, 48, 192) if "ppocr" in name else None
    path = MODELS / f"{name}.onnx"
    return path, OnnxFrontend(OnnxOptions(input_shape=shape)).parse(path)


def session(data):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(data, options)


@pytest.mark.parametrize(("name", "layers"), NETWORKS.items())
def test_parsed_network_computes_the_same(name, layers):
    path, model = parsed(name)
    entry = model.graph.inputs[0]
    images = np.random.default_rng(0).standard_normal((2, *list(entry.shape)[1:]), np.float32)
    original = session(str(path))
    fixed = isinstance(original.get_inputs()[0].shape[0], int)
    parts = [images[:1], images[1:]] if fixed else [images]
    expected = np.concatenate([original.run(None, {entry.name: part})[0] for part in parts])
    (got,) = session(ir.to_proto(model.network).SerializeToString()).run(None, {entry.name: images})
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    ops = [node.op_type for node in model.graph]
    assert sum(op in ("Conv", "Gemm") for op in ops) == layers
    assert not LEFT_OVER & set(ops)


@pytest.mark.parametrize("name", NETWORKS)
def test_parsed_network_is_in_the_promised_form(name):
    _, model = parsed(name)
    graph = model.graph
    nodes = [node.name for node in graph]
    values = [v.name for node in graph for v in node.outputs] + list(graph.initializers)
    assert all(nodes)
    assert len(set(nodes)) == len(nodes)
    assert len({*values, *model.input_names}) == len(values) + len(model.input_names)
    assert model.network.opset_imports == {"": 21}
    assert graph.inputs[0].shape[0].value == "N"
    for value in graph.initializers.values():
        assert not value.const_value.numpy().flags.writeable
    for value in itertools.chain.from_iterable(node.outputs for node in graph):
        assert value.type is not None
        assert all(isinstance(d, int) or d.value.endswith("N") for d in value.shape)
