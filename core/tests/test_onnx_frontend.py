"""Every op of every opset computes after parsing what it computes in the file."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from fewbits.builtin.onnx_frontend import OnnxFrontend
from fewbits.errors import ModelError
from fewbits.model import Stage
from onnx import numpy_helper, parser

OPSETS = (7, 9, 11, 13, 17, 21, onnx.defs.onnx_opset_version())
RNG = np.random.default_rng(0)


def f(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def i(*values):
    return np.array(values, np.int64)


NORM = {"g": f(4), "b": f(4), "mu": f(4), "v": np.abs(f(4)) + np.float32(0.5)}
HALF = {"s": np.array([1, 1, 0.6, 0.75], np.float32)}
MORE = {"s": np.array([1, 1, 1.5, 2.5], np.float32)}
END = 99

# name, first opset, last opset, nodes from x to y, constants
CASES = [
    (
        "clip_attribute",
        7,
        10,
        "y = Clip<min=0.0, max=0.5>(x)",
        {},
    ),
    ("clip_input", 11, END, "y = Clip(x, lo, hi)", {"lo": np.float32(0), "hi": np.float32(0.5)}),
    ("dropout", 7, 11, "d = Dropout<ratio=0.3>(x) y = Relu(d)", {}),
    ("dropout_input", 12, END, "d = Dropout(x, r) y = Relu(d)", {"r": np.float32(0.3)}),
    ("slice_attribute", 7, 9, "y = Slice<starts=[1,0], ends=[3,9], axes=[1,2]>(x)", {}),
    ("slice_input", 10, END, "y = Slice(x, s, e, a)", {"s": i(1, 0), "e": i(3, 9), "a": i(1, 2)}),
    ("pad_attribute", 7, 10, "y = Pad<pads=[0,0,1,1,0,0,2,2], value=1.0>(x)", {}),
    ("pad_input", 11, END, "y = Pad(x, p)", {"p": i(0, 0, 1, 1, 0, 0, 2, 2)}),
    ("upsample", 7, 8, 'y = Upsample<mode="linear", scales=[1.0,1.0,1.5,2.5]>(x)', {}),
    ("upsample_nearest", 9, 9, 'y = Upsample<mode="nearest">(x, s)', MORE),
    ("upsample_linear", 9, 9, 'y = Upsample<mode="linear">(x, s)', MORE),
    ("resize10_nearest", 10, 10, 'y = Resize<mode="nearest">(x, s)', HALF),
    ("resize10_linear", 10, 10, 'y = Resize<mode="linear">(x, s)', HALF),
    ("resize", 13, END, 'y = Resize<mode="linear">(x, , s)', MORE),
    ("squeeze", 7, 12, "a = GlobalAveragePool(x) y = Squeeze<axes=[2]>(a)", {}),
    ("squeeze_input", 13, END, "a = GlobalAveragePool(x) y = Squeeze(a, k)", {"k": i(2)}),
    ("split", 7, 12, "a, b = Split<axis=1, split=[1,3]>(x) y = Concat<axis=1>(b, a)", {}),
    ("split_input", 13, END, "a, b = Split<axis=1>(x, s) y = Concat<axis=1>(b, a)", {"s": i(1, 3)}),
    ("reduce_mean", 7, 17, "y = ReduceMean<axes=[2,3], keepdims=1>(x)", {}),
    ("reduce_sum", 7, 12, "y = ReduceSum<axes=[1], keepdims=1>(x)", {}),
    ("reduce_max", 7, 17, "y = ReduceMax<axes=[1], keepdims=0>(x)", {}),
    ("softmax", 7, END, "y = Softmax(x)", {}),
    ("softmax_axis", 7, END, "y = Softmax<axis=2>(x)", {}),
    ("log_softmax", 7, END, "y = LogSoftmax<axis=1>(x)", {}),
    ("prelu", 7, END, "y = PRelu(x, s)", {"s": f(4, 1, 1)}),
    ("hard_sigmoid_gate", 7, END, "h = HardSigmoid(x) y = Mul(x, h)", {}),
    ("silu", 7, END, "s = Sigmoid(x) y = Mul(x, s)", {}),
    ("average_pool", 7, END, "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)", {}),
    ("max_pool", 7, END, 'y = MaxPool<kernel_shape=[3,3], auto_pad="SAME_UPPER">(x)', {}),
    ("depth_to_space", 7, END, "y = DepthToSpace<blocksize=2>(x)", {}),
    ("instance_norm", 7, END, "y = InstanceNormalization(x, g, b)", {"g": f(4), "b": f(4)}),
    ("min_max", 9, END, "a = Max(x, z) y = Min(a, o)", {"z": np.float32(0), "o": np.float32(1)}),
    ("topk", 10, END, "y, k = TopK(x, n)", {"n": i(3)}),
    ("transpose", 7, END, "y = Transpose<perm=[0,2,3,1]>(x)", {}),
    ("gather", 7, END, "y = Gather<axis=1>(x, k)", {"k": i(2, 0, 1, 3)}),
    ("cast", 7, END, "a = Cast<to=7>(x) y = Cast<to=1>(a)", {}),
    ("argmax", 7, END, "a = ArgMax<axis=1>(x) y = Cast<to=1>(a)", {}),
    ("mean_variance", 9, END, "y = MeanVarianceNormalization(x)", {}),
    ("matmul_4d", 7, END, "m = MatMul(x, w) y = Add(m, b)", {"w": f(8, 5), "b": f(5)}),
    ("grid_sample", 16, END, "y = GridSample(x, g)", {"g": np.clip(f(2, 5, 5, 2), -1, 1)}),
    (
        "group_norm",
        21,
        END,
        "y = GroupNormalization<num_groups=2>(x, g, b)",
        {"g": f(4), "b": f(4)},
    ),
]
GRID = [
    pytest.param(opset, nodes, constants, id=f"{name}-{opset}")
    for name, first, last, nodes, constants in CASES
    for opset in sorted({*OPSETS, 8, 10, 18})
    if first <= opset <= last and (opset in OPSETS or last - first < 4 or last == 17)
]

NET = """
  c0 = Conv<pads=[1,1,1,1]>(x, w0)
  n0 = BatchNormalization(c0, g, b, mu, v)
  r0 = Relu(n0)
  c1 = Conv<pads=[1,1,1,1], group=4>(r0, w1, b1)
  n1 = BatchNormalization<epsilon=0.01>(c1, g, b, mu, v)
  p1 = MaxPool<kernel_shape=[2,2], strides=[2,2]>(n1)
  c2 = ConvTranspose<strides=[2,2], group=2>(p1, w2)
  n2 = BatchNormalization(c2, g, b, mu, v)
  a = Add(n2, r0)
  k = Concat<axis=1>(a, r0)
  q = GlobalAveragePool(k)
  h = Flatten(q)
  m = MatMul(h, w3)
  o = Add(m, b3)
  y = Softmax(o)
"""
WEIGHTS = {
    "w0": f(4, 4, 3, 3),
    "w1": f(4, 1, 3, 3),
    "b1": f(4),
    "w2": f(4, 2, 2, 2),
    "w3": f(8, 5),
    "b3": f(5),
    **NORM,
}


def write(path, opset, nodes, constants, inputs="float[N,4,8,8] x"):
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => (float y) {{ {nodes} }}'
    proto = parser.parse_model(text)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    for name, value in constants.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.save(proto, path)
    return path


def run(network, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = (
        Path(network).read_bytes()
        if isinstance(network, Path)
        else ir.to_proto(network).SerializeToString()
    )
    return ort.InferenceSession(data, options).run(None, feeds)


def assert_same(path, model, feeds):
    for expected, got in zip(run(path, feeds), run(model.network, feeds), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("opset", "nodes", "constants"), GRID)
def test_op_computes_the_same(tmp_path, opset, nodes, constants):
    path = write(tmp_path / "net.onnx", opset, nodes, constants)
    model = OnnxFrontend().parse(path)
    assert model.network.opset_imports == {"": 21}
    assert_same(path, model, {"x": f(2, 4, 8, 8)})


@pytest.mark.parametrize("opset", OPSETS)
def test_network_becomes_three_convolutions_and_a_gemm(tmp_path, opset):
    path = write(tmp_path / "net.onnx", opset, NET, WEIGHTS)
    model = OnnxFrontend().parse(path)
    assert [node.op_type for node in model.graph] == [
        "Conv",
        "Relu",
        "Conv",
        "MaxPool",
        "ConvTranspose",
        "Add",
        "Concat",
        "GlobalAveragePool",
        "Flatten",
        "Gemm",
        "Softmax",
    ]
    assert (model.name, model.stage) == ("net", Stage.PARSED)
    for batch in (1, 3):
        assert_same(path, model, {"x": f(batch, 4, 8, 8)})


def test_what_the_converter_gets_wrong_is_refused(tmp_path):
    path = write(tmp_path / "net.onnx", 11, "y = Hardmax<axis=1>(x)", {})
    with pytest.raises(ModelError, match="Hardmax") as caught:
        OnnxFrontend().parse(path)
    assert "opset_version" in caught.value.hint


def test_op_newer_than_the_opset_is_refused(tmp_path):
    path = write(tmp_path / "net.onnx", 24, "y = Swish(x)", {})
    with pytest.raises(ModelError, match=r"Swish .*'Swish_y' is newer"):
        OnnxFrontend().parse(path)


def test_default_of_a_newer_attribute_is_dropped_and_another_value_refused(tmp_path):
    nodes = 'a = Cast<to=7, round_mode="{}">(x) y = Cast<to=1>(a)'
    path = write(tmp_path / "net.onnx", 25, nodes.format("up"), {})
    assert_same(path, OnnxFrontend().parse(path), {"x": f(2, 4, 8, 8)})
    path = write(tmp_path / "net.onnx", 25, nodes.format("down"), {})
    with pytest.raises(ModelError, match="round_mode"):
        OnnxFrontend().parse(path)
