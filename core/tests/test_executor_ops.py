"""Integer ops against closed forms, naive loops and ONNX Runtime's float kernels."""

from itertools import product as every

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from fewbits.errors import ModelError
from fewbits.executor import Executor
from fewbits.integer_ops import convolve, convolve_transposed, product
from fewbits.model import Encoding, Stage
from fewbits.testing.net import Net
from fewbits.testing.toys import conv_chain
from fewbits.windows import Window, average_pool, max_pool, window
from hypothesis import given, settings
from hypothesis import strategies as st

QUIET = settings(deadline=None, max_examples=60)


def activation(scale=1.0, zero_point=0, bits=8):
    return Encoding(bits, False, np.float32(scale), np.int64(zero_point))


def weight_encoding(scale=1.0, bits=8):
    return Encoding(bits, True, np.float32(scale), np.int64(0), narrow=True)


def layer_model(encodings, *, weight, bias=None, clip=None, length=4, **attributes):
    """Return a quantized `(N, 1, length)` Conv named by its tensors: x, w, b, y."""
    net = Net("layer")
    inputs = [net.input("x", 1, length), net.constant(np.float32(weight).reshape(1, 1, -1), "w")]
    if bias is not None:
        inputs.append(net.constant(np.float32([bias]), "b"))
    out = net.op("Conv", *inputs, name="conv", **attributes)
    if clip is not None:
        out = net.op("Clip", out, *(net.constant(np.asarray(c, np.float32)) for c in clip))
    net.output(out, 1, "L")
    model = net.build()
    held = {out if name == "y" else name: e for name, e in encodings.items()}
    return model.advance(Stage.QUANTIZED, encodings=held), out


def run_layer(x, encodings, **options):
    model, out = layer_model(encodings, length=len(x), **options)
    return Executor(model).trace({"x": np.float32([[x]])})[out].ravel().tolist()


def test_a_convolution_by_hand():
    # x·w: 1·2 − 2·1 + 3·0, 2·2 − 3·1 + 4·0; times 0.5·0.25, over 0.125
    encodings = {"x": activation(0.5), "w": weight_encoding(0.25), "y": activation(0.125, 7)}
    assert run_layer([0.5, 1.0, 1.5, 2.0], encodings, weight=[0.5, -0.25, 0.0]) == [7, 8]


def test_padding_is_the_zero_point():
    encodings = {"x": activation(1.0, 10), "w": weight_encoding(), "y": activation(1.0, 100)}
    found = run_layer([0.0, 0.0, 5.0, 0.0], encodings, weight=[1, 1, 1], pads=[2, 1])
    assert found == [100, 100, 105, 105, 105]


def test_the_bias_counts_in_the_accumulators_steps():
    bias = Encoding(32, True, np.float32([0.125]), np.int64([0]), 0)
    encodings = {
        "x": activation(0.5),
        "w": weight_encoding(0.25),
        "b": bias,
        "y": activation(0.125, 50),
    }
    assert run_layer([0.5], encodings, weight=[0.25], bias=-4.0) == [50 + 1 - 32]


def test_ties_go_to_the_even_integer_and_the_rest_saturates():
    encodings = {"x": activation(1.0, 100), "w": weight_encoding(), "y": activation(2.0, 4)}
    found = run_layer([1, 3, 5, -1, -3, -100, 155], encodings, weight=[1])
    assert found == [4 + 0, 4 + 2, 4 + 2, 4 + 0, 4 - 2, 0, 4 + 78]
    narrow = {**encodings, "y": activation(0.5, 0)}
    assert run_layer([100, 127, 128, 155], narrow, weight=[1]) == [200, 254, 255, 255]


def test_a_fused_clip_bounds_the_integers():
    encodings = {"x": activation(1.0, 100), "w": weight_encoding(), "y": activation(1.0, 100)}
    found = run_layer([-50, -2, 0, 3, 50], encodings, weight=[1], clip=(-3.0, 4.0))
    assert found == [97, 98, 100, 103, 104]


def test_a_layer_without_output_encoding_ends_in_float():
    encodings = {"x": activation(0.5), "w": weight_encoding(0.25)}
    assert run_layer([1.0, 2.0], encodings, weight=[-0.5]) == [-0.5, -1.0]


def test_a_sum_that_a_32_bit_accumulator_would_not_hold_is_an_error():
    net = Net("wide")
    x = net.input("x", 1 << 17)
    weight = net.constant(np.full((1 << 17, 1), 127, np.float32), "w")
    net.output(net.op("Gemm", x, weight, name="head"), 1)
    encodings = {"x": activation(), "w": weight_encoding()}
    executor = Executor(net.build().advance(Stage.QUANTIZED, encodings=encodings))
    ones = {"x": np.ones((1, 1 << 17), np.float32)}
    assert executor.run(ones)["head_out"] == 127 << 17
    with pytest.raises(ModelError, match="'head' overflows 32 bits"):
        executor.run({"x": 255 * ones["x"]})


def test_only_a_quantized_model_can_be_executed():
    with pytest.raises(ModelError, match="not quantized"):
        Executor(conv_chain())


@pytest.mark.parametrize("magnitude", [1 << 7, 1 << 20, 1 << 29])
def test_products_are_exact_at_any_size(magnitude):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-magnitude, magnitude, shape) for shape in ((5, 9), (9, 4)))
    expected = [
        [sum(int(x) * int(y) for x, y in zip(row, column, strict=True)) for column in b.T]
        for row in a
    ]
    assert product(a, b).tolist() == expected


def naive_convolution(x, weight, strides, dilations, begin, end, groups):
    """The definition, sum by sum, in float64."""
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *zip(begin, end, strict=True)])
    kernel = weight.shape[2:]
    sizes = [
        (size - (k - 1) * d - 1) // s + 1
        for size, k, d, s in zip(padded.shape[2:], kernel, dilations, strides, strict=True)
    ]
    result = np.zeros((len(x), len(weight), *sizes))
    per_group = len(weight) // groups
    for n, o, *place in np.ndindex(*result.shape):
        for c, *tap in np.ndindex(*weight.shape[1:]):
            at = [p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations, strict=True)]
            channel = o // per_group * weight.shape[1] + c
            result[(n, o, *place)] += padded[(n, channel, *at)] * weight[(o, c, *tap)]
    return result


@st.composite
def convolutions(draw):
    axes = draw(st.integers(1, 2))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    groups, inputs, outputs = (draw(st.integers(1, 3)) for _ in range(3))
    kernel, dilations = each(1, 3), each(1, 2)
    sizes = tuple(
        (k - 1) * d + 1 + more for k, d, more in zip(kernel, dilations, each(0, 4), strict=True)
    )
    return {
        "x": (draw(st.integers(1, 2)), groups * inputs, *sizes),
        "weight": (groups * outputs, inputs, *kernel),
        "groups": groups,
        "window": Window(kernel, each(1, 3), dilations, each(0, 2), each(0, 2), (0,) * axes),
    }


@QUIET
@given(convolutions(), st.integers(0, 1000))
def test_convolutions_are_their_definition(case, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-255, 256, case["x"])
    weight = rng.integers(-127, 128, case["weight"])
    w = case["window"]
    expected = naive_convolution(x, weight, w.strides, w.dilations, w.begin, w.end, case["groups"])
    found = convolve(x, weight, w, case["groups"])
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def by_onnxruntime(op, inputs, attributes):
    """Run one op in float; `inputs` are integers small enough to be exact."""
    net = Net(op)
    x = net.input("x", *inputs[0].shape[1:])
    rest = [net.constant(array.astype(np.float32)) for array in inputs[1:]]
    net.output(net.op(op, x, *rest, **attributes), *["s" + str(a) for a in range(x_rank(inputs))])
    model = net.build()
    session = ort.InferenceSession(ir.to_proto(model.network).SerializeToString())
    return model.graph[0], session.run(None, {"x": inputs[0].astype(np.float32)})[0]


def x_rank(inputs):
    return inputs[0].ndim - 1


TRANSPOSED = [
    {},
    {"strides": [2, 3]},
    {"strides": [2, 2], "pads": [1, 0, 0, 1]},
    {"strides": [2, 2], "dilations": [2, 1], "pads": [1, 1, 1, 1]},
    {"strides": [3, 2], "output_padding": [2, 1], "pads": [0, 1, 1, 0]},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"strides": [2, 2], "auto_pad": "VALID"},
    {"strides": [3, 3], "output_shape": [14, 11]},
    {"group": 2, "strides": [2, 1]},
]


@pytest.mark.parametrize("attributes", TRANSPOSED, ids=str)
def test_transposed_convolutions_are_those_of_onnxruntime(attributes):
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 10, (2, 4, 5, 4))
    weight = rng.integers(-9, 10, (4, 3, 3, 2))
    node, expected = by_onnxruntime("ConvTranspose", [x, weight], attributes)
    np.testing.assert_array_equal(convolve_transposed(x, weight, node), expected)


CONVOLUTIONS = [
    *({"auto_pad": mode} for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")),
    *({"auto_pad": mode, "strides": [2, 3]} for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")),
    {"auto_pad": "VALID", "dilations": [2, 2]},
    {"pads": [0, 1, 2, 3], "strides": [2, 1]},
]


@pytest.mark.parametrize("attributes", CONVOLUTIONS, ids=str)
def test_convolution_padding_is_that_of_onnxruntime(attributes):
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 10, (2, 3, 8, 7))
    weight = rng.integers(-9, 10, (2, 3, 3, 2))
    node, expected = by_onnxruntime("Conv", [x, weight], attributes)
    found = convolve(x, weight, window(node, (3, 2), (8, 7)))
    np.testing.assert_array_equal(found, expected)


POOLS = [
    {"kernel_shape": [3, 3], "strides": list(strides), "ceil_mode": ceil, **pads}
    for strides, ceil, pads in every(
        ((1, 1), (2, 3), (3, 2)),
        (0, 1),
        ({}, {"pads": [1, 0, 1, 1]}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}),
    )
    if not (ceil and "auto_pad" in pads)
]


@pytest.mark.parametrize("attributes", POOLS, ids=str)
def test_max_pools_are_those_of_onnxruntime(attributes):
    x = np.random.default_rng(0).integers(-99, 100, (2, 3, 8, 9))
    node, expected = by_onnxruntime("MaxPool", [x], attributes)
    np.testing.assert_array_equal(max_pool(x, node), expected)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("attributes", POOLS, ids=str)
def test_average_pools_are_those_of_onnxruntime(attributes, include):
    x = np.random.default_rng(0).integers(-99, 100, (2, 3, 8, 9))
    node, expected = by_onnxruntime(
        "AveragePool", [x], {**attributes, "count_include_pad": include}
    )
    np.testing.assert_allclose(average_pool(x, node), expected, rtol=1e-5, atol=1e-4)


def test_what_ceil_mode_adds_to_an_average_pool_never_counts():
    net = Net("pool")
    x = net.input("x", 1, 4)
    pooled = net.op(
        "AveragePool", x, kernel_shape=[3], strides=[2], ceil_mode=1, count_include_pad=1
    )
    net.output(pooled, 1, "L")
    node = net.build().graph[0]
    found = average_pool(np.array([[[1.0, 2.0, 3.0, 4.0]]]), node)
    np.testing.assert_array_equal(found, [[[2.0, 3.5]]])
