import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fewbits.bias import bias_encoding, expected_shift, with_room_for_bias
from fewbits.model import Encoding
from fewbits.numerics import quantize
from onnx import TensorProto, helper

RNG = np.random.default_rng(5)


def _encoding(scale, bits=8, axis=None, *, signed=True):
    scale = np.asarray(scale, np.float32)
    return Encoding(bits, signed, scale, np.zeros(scale.shape, np.int64), axis, narrow=signed)


def _run(op, x, weight, **attributes):
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 21)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return ort.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]


def _normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_shift_of_a_convolution_whose_kernel_covers_its_input_is_exact(groups):
    x, change = _normal(5, 4, 3, 3) + 2.0, _normal(8, 4 // groups, 3, 3)
    x[:] = x.mean(axis=(2, 3), keepdims=True)  # then every tap sees its channel's mean
    found = expected_shift(change, x.mean(axis=(0, 2, 3)), "Conv", groups)
    wanted = _run("Conv", x, change, group=groups).mean(axis=(0, 2, 3))
    assert np.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 3])
def test_the_shift_of_a_pointwise_convolution_is_exact_on_any_data(groups):
    x, change = _normal(5, 6, 4, 7) + 1.0, _normal(9, 6 // groups, 1, 1)
    found = expected_shift(change, x.mean(axis=(0, 2, 3)), "Conv", groups)
    wanted = _run("Conv", x, change, group=groups).mean(axis=(0, 2, 3))
    assert np.allclose(found, wanted, atol=1e-5)


def test_the_shift_of_a_convolution_over_a_signal():
    x, change = np.full((2, 3, 9), 0.5, np.float32), _normal(4, 3, 5)
    found = expected_shift(change, np.full(3, 0.5), "Conv")
    assert np.allclose(found, _run("Conv", x, change).mean(axis=(0, 2)), atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), 2), ((4, 4), 2), ((3, 6), 3), ((3, 3), 1)])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_shift_of_a_transposed_convolution_away_from_the_border(kernel, stride, groups):
    levels = _normal(1, 4, 1, 1) + 1.0
    x, change = np.tile(levels, (1, 1, 12, 12)), _normal(4, 3, *kernel)
    y = _run("ConvTranspose", x, change, strides=[stride, stride], group=groups)
    inner = y[:, :, 2 * max(kernel) : 2 * max(kernel) + 6, 2 * max(kernel) : 2 * max(kernel) + 6]
    found = expected_shift(change, levels.ravel(), "ConvTranspose", groups, stride**2)
    assert np.allclose(found, inner.mean(axis=(0, 2, 3)), atol=1e-4)


def test_the_shift_of_a_gemm():
    x, change = _normal(50, 6) + 1.0, _normal(3, 6)
    wanted = (x @ change.T).mean(axis=0)
    assert np.allclose(expected_shift(change, x.mean(axis=0), "Gemm"), wanted, atol=1e-5)


def test_a_bias_is_counted_in_steps_of_the_accumulator():
    weight, source = _encoding([0.5, 0.25], axis=0), _encoding(0.125, signed=False)
    found = bias_encoding(weight, source, 2, 32)
    assert found.scale.tolist() == [0.0625, 0.03125]
    assert (found.bits, found.signed, found.axis, found.narrow) == (32, True, 0, False)
    assert quantize(np.array([1.0, 1.0]), found).tolist() == [16, 32]


def test_groups_of_a_transposed_convolution_share_the_scales_of_the_bias():
    weight = _encoding([0.5, 0.25], axis=1)
    assert bias_encoding(weight, _encoding(1.0), 6, 32).scale.tolist() == [0.5, 0.25] * 3


def test_one_weight_scale_gives_one_bias_scale():
    found = bias_encoding(_encoding(0.5), _encoding(0.5), 6, 32)
    assert found.axis is None
    assert found.scale == 0.25


@pytest.mark.parametrize("bits", [16, 32])
def test_scales_rise_just_so_far_that_a_bias_takes_half_its_integer(bits):
    weight, source = _encoding([1e-6, 1e-6, 0.5], axis=0), _encoding(1e-3, signed=False)
    bias = np.array([1000.0, 0.0, 0.1])
    roomy = with_room_for_bias(weight, bias, source, bits)
    integers = quantize(bias, bias_encoding(roomy, source, 3, bits))
    assert integers[0] == pytest.approx(2 ** (bits - 2), rel=1e-6)
    assert roomy.scale[1:].tolist() == weight.scale[1:].tolist()


def test_a_shared_scale_makes_room_for_the_largest_bias_of_its_group():
    bias = np.array([0.0, 1e6, 0.0, 2e6, 0.0, 4e6])
    roomy = with_room_for_bias(_encoding([1e-6, 1e-6], axis=1), bias, _encoding(1.0), 32)
    assert roomy.scale[0] == np.float32(1e-6)
    assert roomy.scale[1] == np.float32(4e6 / 2**30)
    whole = with_room_for_bias(_encoding(1e-6), bias, _encoding(1.0), 32)
    assert whole.scale == np.float32(4e6 / 2**30)


def test_the_accumulators_step_never_underflows():
    dead = _encoding(2.0**-102, signed=False)
    roomy = with_room_for_bias(_encoding([2.0**-100], axis=0), np.zeros(1), dead, 32)
    assert bias_encoding(roomy, dead, 1, 32).scale[0] >= np.finfo(np.float32).tiny
