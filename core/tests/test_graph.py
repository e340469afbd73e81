import numpy as np
import pytest
from fewbits.graph import (
    add_constant,
    constant,
    ensure_bias,
    flatten_biases,
    free_name,
    fused_activation,
    is_layer,
    layers,
    only_reader,
    set_constant,
    unshare_constants,
)
from fewbits.testing import toys
from fewbits.testing.net import Net


def _nodes(model, op):
    return [node for node in model.graph if node.op_type == op]


def _gemm(bias, **attributes):
    net = Net("gemm")
    inputs = [net.input("x", 6), net.normal((6, 5), 6, name="weight")]
    if bias is not None:
        inputs.append(net.constant(np.asarray(bias, np.float32), "bias"))
    net.output(net.op("Gemm", *inputs, name="gemm", **attributes), 5)
    return net.build()


def test_layers_come_in_order_with_what_is_fused_behind_them():
    found = list(layers(toys.conv_chain().graph))
    assert [layer.name for layer in found] == ["conv_0", "conv_2", "conv_4"]
    fused = [layer.activation.op_type if layer.activation else None for layer in found]
    assert fused == ["Relu", "Clip", None]
    assert [str(layer.output.name) for layer in found] == ["relu_1_out", "clip_3_out", "conv_4_out"]


@pytest.mark.parametrize(
    ("toy", "name", "axis", "channels", "groups"),
    [
        ("depthwise", "conv_2", 0, 12, 12),
        ("conv_transpose", "up", 1, 6, 1),
        ("gemm", "gemm_1", 0, 16, 1),
        ("matmul", "matmul_0", 1, 12, 1),
    ],
)
def test_where_a_layers_output_channels_lie(toy, name, axis, channels, groups):
    layer = next(one for one in layers(toys.TOYS[toy]().graph) if one.name == name)
    assert (layer.weight_axis, layer.out_channels, layer.groups) == (axis, channels, groups)


def test_a_gemm_whose_weight_lies_the_other_way_has_its_channels_on_axis_1():
    layer = next(layers(_gemm(None).graph))
    assert (layer.weight_axis, layer.out_channels) == (1, 5)


def test_groups_of_a_transposed_convolution_share_the_channel_axis():
    net = Net("up")
    weight = net.normal((4, 3, 2, 2), 4)
    x = net.op("ConvTranspose", net.input("x", 4, 5, 5), weight, strides=[2, 2], group=2)
    net.output(x, 6, 10, 10)
    layer = next(layers(net.build().graph))
    assert (layer.weight_axis, layer.out_channels, layer.groups) == (1, 6, 2)


@pytest.mark.parametrize(
    ("attributes", "plain"),
    [
        ({}, True),
        ({"alpha": 1.0, "beta": 1.0}, True),
        ({"alpha": 2.0}, False),
        ({"beta": 0.5}, False),
    ],
)
def test_a_gemm_with_factors_is_no_layer(attributes, plain):
    assert is_layer(_nodes(_gemm(np.ones(5), **attributes), "Gemm")[0]) is plain


def test_a_gemm_of_two_computed_matrices_is_no_layer():
    net = Net("two")
    x = net.op("Relu", net.input("x", 5))
    net.output(net.op("Gemm", x, x, transB=1), "N")
    assert not is_layer(_nodes(net.build(), "Gemm")[0])


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 5), (5,)])
def test_biases_that_broadcast_get_the_shape_of_the_channels(shape):
    model = _gemm(np.full(shape, 0.5)).copy()
    flatten_biases(model.graph)
    assert np.array_equal(constant(next(layers(model.graph)).bias), np.full(5, 0.5, np.float32))


def test_an_activation_fuses_only_where_the_target_computes_it():
    node = _nodes(toys.conv_chain(), "Conv")[0]
    assert fused_activation(node).op_type == "Relu"
    assert fused_activation(node, frozenset({"Clip"})) is None


def test_an_activation_behind_a_graph_output_is_not_fused():
    net = Net("seen")
    x = net.conv(net.input("x", 3, 4, 4), 3, 2)
    net.output(x, 2, 4, 4)
    net.output(net.op("Relu", x), 2, 4, 4)
    conv = _nodes(net.build(), "Conv")[0]
    assert fused_activation(conv) is None
    assert only_reader(conv.outputs[0]) is None


def test_layers_that_share_a_weight_get_one_each_and_the_copies_are_named():
    model = toys.shared_weights().copy()
    before = np.array(constant(model.graph.initializers["shared"]))
    copies = unshare_constants(model.graph)
    weights = [str(layer.weight.name) for layer in layers(model.graph)]
    assert len(set(weights)) == len(weights) == 4
    assert list(copies.values()) == ["shared"]
    for name in (*copies, "shared"):
        assert np.array_equal(constant(model.graph.initializers[name]), before)
    assert not unshare_constants(model.graph)


def test_a_layer_without_a_bias_gets_one_of_zeros_and_others_keep_theirs():
    model = toys.shared_weights().copy()
    for layer in list(layers(model.graph)):
        ensure_bias(model.graph, layer.node, layer.out_channels)
    biases = [constant(layer.bias) for layer in layers(model.graph)]
    assert [bool(np.any(bias)) for bias in biases] == [True, False, False, True]
    assert all(len(bias) == 8 for bias in biases[:3])


def test_a_matmul_has_no_bias_to_give():
    model = toys.matmul().copy()
    for node in _nodes(model, "MatMul"):
        ensure_bias(model.graph, node, 12)
    assert all(layer.bias is None for layer in layers(model.graph))


def test_names_that_are_taken_are_not_taken_again():
    net = Net("taken")
    weight = net.normal((4, 3, 1, 1), 3)
    x = net.op("Conv", net.input("x", 3, 4, 4), weight, name="one")
    taken = net.bias(2, "one.bias")
    net.output(net.op("Conv", x, net.normal((2, 4, 1, 1), 4), taken, name="two"), 2, 4, 4)
    model = net.build().copy()
    first = next(layers(model.graph))
    ensure_bias(model.graph, first.node, 4)
    assert [str(layer.bias.name) for layer in layers(model.graph)] == ["one.bias.1", "one.bias"]
    assert free_name(model.graph, "one.bias") == "one.bias.2"
    assert free_name(model.graph, "new") == "new"


def test_constants_cannot_be_written_to_and_carry_their_shape():
    model = toys.gemm().copy()
    value = add_constant(model.graph, "extra", np.zeros((2, 3)))
    set_constant(value, np.ones((4,), np.float32))
    assert tuple(value.shape) == (4,)
    with pytest.raises(ValueError, match="read-only"):
        constant(value)[0] = 2.0


def test_a_copy_of_a_model_can_be_changed_without_changing_the_model():
    model = toys.gemm()
    before = np.array(constant(model.graph.initializers["gemm_1_weight"]))
    new = model.copy()
    set_constant(new.graph.initializers["gemm_1_weight"], before * 0)
    assert np.array_equal(constant(model.graph.initializers["gemm_1_weight"]), before)
