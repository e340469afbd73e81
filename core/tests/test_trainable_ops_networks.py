"""Whole networks, node by node in torch, compute what ONNX Runtime computes."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from fewbits.builtin.onnx_frontend import OnnxFrontend, OnnxOptions
from fewbits.graph import constant, values_by_name
from fewbits.testing.toys import TOYS, calibration

torch = pytest.importorskip("torch")
from fewbits.trainable.ops import op_of  # noqa: E402

MODELS = Path(__file__).resolve().parents[2].parent / "shared" / "models"
NETWORKS = [
    "FastestDet",
    "ch_ppocr_mobile_v2.0_cls_infer",
    "efficientnet_lite0",
    "efficientnet_lite0_bn",
    "mobilenetv1_025_vww96_mlperftiny",
    "mobilenetv2_tfquant_dequant",
    "resnet20_cifar10_bn",
]


def every_value(model, inputs):
    """Return what ONNX Runtime computes for each value of a network, without fusing ops."""
    proto = ir.to_proto(model.network)
    names = [name for node in proto.graph.node for name in node.output if name]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options)
    return {**inputs, **dict(zip(names, session.run(names, inputs), strict=True))}


def constants(model):
    found = {name: constant(value) for name, value in values_by_name(model.graph).items()}
    return {name: torch.tensor(array) for name, array in found.items() if array is not None}


def run_node(node, values):
    inputs = [None if v is None or not v.name else values[v.name] for v in node.inputs]
    results = op_of(node)(node, inputs)
    return {v.name: y for v, y in zip(node.outputs, results, strict=False) if v.name}


def assert_close(found, expected, name):
    found = found.numpy()
    assert found.dtype == expected.dtype
    atol = 1e-5 * max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=atol, err_msg=name)


def check(model, inputs, layout=torch.contiguous_format):
    """Compare each node, fed with ONNX Runtime's values, and the whole, fed with the inputs."""
    expected = every_value(model, inputs)
    held = constants(model)
    chained = {k: torch.tensor(x) for k, x in inputs.items()}
    chained = {k: x.contiguous(memory_format=layout) for k, x in chained.items()} | held
    for node in model.graph:
        fed = {
            str(v.name): torch.tensor(expected[v.name])
            for v in node.inputs
            if v and v.name in expected
        }
        for name, found in run_node(node, {**held, **fed}).items():
            assert_close(found, expected[name], f"{node.op_type} {node.name}")
        chained |= run_node(node, chained)
    for name in model.output_names:
        assert_close(chained[name], expected[name], name)


@pytest.mark.parametrize("toy", TOYS)
def test_toy_networks_are_those_of_onnxruntime(toy):
    model = TOYS[toy]()
    check(model, dict(calibration(model, 4).inputs))


@pytest.mark.slow
@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared networks are not here")
@pytest.mark.parametrize("name", NETWORKS)
def test_shared_networks_are_those_of_onnxruntime(name):
    shape = (3, 48, 192) if "ppocr" in name else None
    model = OnnxFrontend(OnnxOptions(input_shape=shape)).parse(MODELS / f"{name}.onnx")
    (entry,) = model.graph.inputs
    images = np.random.default_rng(0).standard_normal((2, *list(entry.shape)[1:]), np.float32)
    with torch.no_grad():
        check(model, {entry.name: images}, torch.channels_last)
