"""The two statements of integer arithmetic, numpy's and ONNX Runtime's, agree to the bit."""

from dataclasses import replace

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.errors import ModelError
from fewbits.executor import Executor
from fewbits.integer.chains import chain_behind, tabulate
from fewbits.integer.scales import exponentials, factors, limited
from fewbits.integer.units import units
from fewbits.integer.writer import to_integers
from fewbits.interfaces import Context
from fewbits.model import Encoding
from fewbits.numerics import encoding_from_range
from fewbits.runtime import Session
from fewbits.targets import Arithmetic
from fewbits.testing.net import Net
from fewbits.testing.toys import TOYS, calibration
from hypothesis import given, settings
from hypothesis import strategies as st

ARITHMETIC = Arithmetic(multiplier_bits=16, zero_point_first=True)
QUANTIZED = "Add Sub Mul Concat AveragePool GlobalAveragePool ReduceMean MatMul Softmax Resize"


class Integers(CpuTarget):
    """A device that computes nothing in float."""

    name = "integers"
    spec = replace(
        CpuTarget.spec,
        quantized_ops=frozenset(QUANTIZED.split()),
        passthrough_ops=CpuTarget.spec.passthrough_ops | {"Pad"},
        float_ops=False,
        float_outputs=frozenset(),
        wide_bits=15,
        arithmetic=ARITHMETIC,
    )


def quantized(model, precision="a8_w8", **options):
    context = Context(Integers(), calibration(model), threads=1)
    return (
        UniformQuantizer(UniformOptions(precision=precision, **options)).apply(model, context).model
    )


def agree(model, count=8, seed=3):
    """Hold both against each other, with signed and with unsigned weights; return the output."""
    inputs = dict(calibration(model, count, seed).inputs)
    stated = Executor(model, ARITHMETIC).run(inputs)
    for unsigned in (False, True):
        network = to_integers(model, ARITHMETIC, unsigned_weights=unsigned)
        written = Session(network, threads=1).run(inputs)
        assert list(written) == list(stated)
        for name, array in stated.items():
            np.testing.assert_array_equal(written[name], array, err_msg=name)
            assert written[name].dtype == array.dtype == np.float32
    return stated


@pytest.mark.parametrize("precision", ["a8_w8", "a8_w4", "a16_w8", "a16_w16"])
@pytest.mark.parametrize("toy", TOYS)
def test_both_compute_the_same_integers(toy, precision):
    agree(quantized(TOYS[toy](), precision))


@pytest.mark.parametrize("toy", ["conv_chain", "se_block", "concat", "sliced_shortcut"])
def test_layers_of_different_widths_meet(toy):
    names = [str(node.name) for node in TOYS[toy]().graph]
    agree(quantized(TOYS[toy](), layers={names[2]: "a16_w16", names[-2]: "a16_w8"}))


def test_per_tensor_weights_and_every_range_agree():
    for options in ({"weights": "per_tensor"}, {"activation_range": "minmax"}):
        agree(quantized(TOYS["residual"](), **options))


def one_op(op, *shape, data=None, into=None, **attributes):
    """Return a network of a convolution, an op on what it writes, and another convolution."""
    net = Net(f"of_{op.lower()}")
    x = net.conv(net.input("image", 3, *shape), 3, 4)
    x = net.op(op, x, *([] if data is None else [net.constant(d) for d in data]), **attributes)
    net.output(x, *(into or (4, *shape)))
    return net.build()


@pytest.mark.parametrize(
    "op", ["Sigmoid", "HardSwish", "HardSigmoid", "Tanh", "Elu", "Softplus", "Mish", "Gelu", "Exp"]
)
def test_functions_are_tables(op):
    model = quantized(one_op(op, 6, 6))
    assert [unit.kind for unit in units(model)] == ["layer", "table"]
    agree(model)


def test_a_tables_entries_are_the_function_of_what_each_integer_stands_for():
    model = quantized(one_op("Sigmoid", 6, 6))
    unit = list(units(model))[-1]
    source, target = (model.encodings[str(v.name)] for v in (unit.sources[0], unit.output))
    found = tabulate(unit.chain, source, target, {"": 21})
    x = (np.arange(256) - int(source.zero_point)) * float(source.scale)
    expected = 1 / (1 + np.exp(-x)) / float(target.scale) + int(target.zero_point)
    assert np.abs(found.entries - np.clip(expected, 0, 255)).max() < 0.501


def test_tables_may_differ_by_channel_and_along_no_other_axis():
    slopes = np.array([0.1, 0.2, 0.3, 0.4], np.float32).reshape(4, 1, 1)
    agree(quantized(one_op("PRelu", 6, 6, data=[slopes])))
    grid = np.linspace(1, 2, 24, dtype=np.float32).reshape(4, 6, 1)
    with pytest.raises(ModelError, match="several axes"):
        to_integers(quantized(one_op("Mul", 6, 6, data=[grid])), ARITHMETIC)


def test_a_chain_ends_where_integers_begin():
    model = TOYS["silu"]()
    (unit,) = [u for u in units(quantized(model)) if u.kind == "table"][:1]
    assert [n.op_type for n in unit.chain.nodes] == ["Sigmoid", "Mul"]
    assert chain_behind(model.graph.inputs[0], frozenset()) is None


POOLS = [
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": ceil}
    | {"count_include_pad": include}
    for ceil in (0, 1)
    for include in (0, 1)
] + [
    {"kernel_shape": [2, 3], "strides": [1, 2]},
    {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"},
]


@pytest.mark.parametrize("precision", ["a8_w8", "a16_w16"])
@pytest.mark.parametrize("attributes", POOLS, ids=str)
def test_average_pools_of_every_kind_agree(attributes, precision):
    agree(quantized(one_op("AveragePool", 9, 8, into=(4, "h", "w"), **attributes), precision))


@pytest.mark.parametrize("precision", ["a8_w8", "a16_w16"])
@pytest.mark.parametrize("scale", [2.0, 4.0])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_resizing_by_powers_of_two_agrees(mode, scale, precision):
    net = Net("resized")
    x = net.conv(net.input("image", 3, 6, 6), 3, 4)
    x = net.op("Resize", x, "", net.constant([1.0, 1.0, scale, scale]), mode=mode)
    net.output(x, 4, int(6 * scale), int(6 * scale))
    agree(quantized(net.build(), precision))


@pytest.mark.parametrize("precision", ["a8_w8", "a16_w16"])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_ops_of_two_tensors_agree(op, precision):
    net = Net("pair")
    x = net.input("image", 3, 6, 6)
    left, right = net.conv(x, 3, 4), net.op("Sigmoid", net.conv(x, 3, 4, 1))
    net.output(net.op("Relu", net.op(op, left, right)), 4, 6, 6)
    agree(quantized(net.build(), precision))


@pytest.mark.parametrize("precision", ["a8_w8", "a16_w16"])
def test_matrix_products_of_computed_tensors_agree(precision):
    net = Net("attention")
    x = net.op("MatMul", net.input("tokens", 6, 8), net.normal((8, 8), 8))
    shares = net.op("Softmax", net.op("MatMul", x, net.op("Transpose", x, perm=[0, 2, 1])))
    net.output(net.op("MatMul", net.op("MatMul", shares, x), net.normal((8, 3), 8)), 6, 3)
    agree(quantized(net.build(), precision))


PAIRS, POOLED = ("Add", "Mul", "Sub"), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}


def grown(net, op, x, y):
    """Add an op on one tensor or two, of four channels each."""
    if op in PAIRS:
        return net.op(op, x, y)
    if op == "Concat":
        return net.conv(net.op(op, x, y, axis=1), 8, 4, 1)
    if op == "Conv":
        return net.conv(x, 4, 4)
    return net.op(op, x, **(POOLED if op.endswith("Pool") else {}))


@st.composite
def networks(draw):
    """Return a small network of ops drawn at random."""
    net = Net("drawn", draw(st.integers(0, 99)))
    heap = [net.conv(net.input("image", 3, 8, 8), 3, 4)]
    ops = [*PAIRS, "Concat", "Conv", "Relu", "HardSwish", "Sigmoid", "MaxPool", "AveragePool"]
    for op in draw(st.lists(st.sampled_from(ops), min_size=1, max_size=5)):
        heap.append(grown(net, op, draw(st.sampled_from(heap)), draw(st.sampled_from(heap))))
    net.output(heap[-1], 4, 8, 8)
    return net.build()


@settings(max_examples=25, deadline=None)
@given(networks(), st.sampled_from(["a8_w8", "a8_w4", "a16_w16"]), st.integers(0, 9))
def test_networks_drawn_at_random_agree(model, precision, seed):
    agree(quantized(model, precision), seed=seed)


def test_an_op_without_a_rule_is_named():
    net = Net("normed")
    x = net.conv(net.input("image", 3, 6, 6), 3, 4)
    x = net.op("InstanceNormalization", x, net.constant([1.0] * 4), net.constant([0.0] * 4))
    net.output(x, 4, 6, 6)
    with pytest.raises(ModelError, match=r"InstanceNormalization .* has no rule"):
        to_integers(quantized(net.build()), ARITHMETIC)


def test_what_is_not_quantized_is_refused():
    with pytest.raises(ModelError, match="not quantized"):
        to_integers(TOYS["residual"](), ARITHMETIC)


@given(st.floats(1e-20, 1e20), st.integers(4, 24))
def test_a_multiplier_has_the_bits_of_its_mantissa(value, bits):
    found = float(limited(np.array(value), bits))
    assert abs(found / float(np.float32(value)) - 1) <= 2.0**-bits
    mantissa, _ = np.frexp(found)
    assert mantissa * 2**bits == np.rint(mantissa * 2**bits)


@given(st.lists(st.floats(1e-4, 1e4), min_size=3, max_size=3))
def test_sums_of_weighted_integers_stay_exact_in_float32(scales):
    a, b, out = (Encoding(8, False, np.float32(s), np.int64(255)) for s in scales)
    found, shift = factors([a, b], out, 12)
    largest = 255 * int(found.sum()) + 255 * 2.0**shift
    assert largest * 2.0 ** max(-shift, 0) < 2**24 or shift < 0
    expected = np.array([float(e.scale) / float(out.scale) for e in (a, b)])
    assert np.abs(found * 2.0**-shift - expected).max() <= 2.0 ** (-shift - 1)


def test_exponentials_fall_from_one():
    found = exponentials(encoding_from_range(-2.0, 2.0, 8), 15)
    assert found[0] == 2**15
    assert (np.diff(found) <= 0).all()


def test_an_input_is_rounded_with_its_zero_point():
    model = quantized(TOYS["conv_chain"]())
    e = model.encodings["image"]
    x = np.full((1, 3, 12, 12), np.float32(0.5) * e.scale, np.float32)
    trace = Executor(model, ARITHMETIC).trace({"image": x})["image"]
    expected = np.rint(np.float32(0.5) + np.float32(e.zero_point))
    np.testing.assert_array_equal(trace, expected)
