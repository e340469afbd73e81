"""Channels that hang together: found on every shape of network, and really free."""

import numpy as np
import onnx_ir as ir
import pytest
from fewbits.channels import find_channels, scaled
from fewbits.graph import constant, layers, set_constant, unshare_constants
from fewbits.kernels import from_blocks, in_channels, to_blocks
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.inspection import relative_difference
from fewbits.testing.net import Net


def channels_of(model):
    return find_channels(model.graph)


def group_of(model, layer):
    groups = channels_of(model).groups()
    return next(g for g in groups if any(s.layer.name == layer for s in g.producers))


def names(slots):
    return [slot.layer.name for slot in slots]


def rescaled(model, seed):
    """Return the model with every free class multiplied by a random power of two.

    Clips are left as they are: toys with clips are excluded by the caller.
    """
    new = model.copy()
    unshare_constants(new.graph)
    found = find_channels(new.graph)
    factors = 2.0 ** np.random.default_rng(seed).integers(-3, 4, found.count)
    factors[0] = 1.0
    read = {slot.layer.name: factors[slot.classes] for slot in found.readers}
    for slot in found.writers:
        blocks = to_blocks(slot.layer, np.asarray(constant(slot.layer.weight), np.float32))
        groups, kernel = len(blocks), (1,) * (blocks.ndim - 3)
        up = factors[slot.classes].reshape(groups, -1, 1, *kernel)
        down = read[slot.layer.name].reshape(groups, 1, -1, *kernel)
        set_constant(slot.layer.weight, from_blocks(slot.layer, scaled(blocks, up / down)))
        if slot.layer.bias is not None:
            bias = constant(slot.layer.bias)
            set_constant(slot.layer.bias, scaled(bias, factors[slot.classes]))
    for operand in found.operands:
        value = operand.node.inputs[operand.index]
        set_constant(value, scaled(constant(value), factors[operand.classes]))
    return model.replace(network=new.network), int((factors[1:] != 1.0).sum())


CLIPPED = {"conv_chain", "depthwise", "concat"}
STILL = {"hard_swish", "silu"}


@pytest.mark.parametrize("toy", sorted(set(toys.TOYS) - CLIPPED))
def test_every_free_class_can_be_rescaled(toy):
    model = toys.TOYS[toy]()
    other, moved = rescaled(model, 3)
    assert (moved > 0) is (toy not in STILL)
    inputs = toys.calibration(model, 4).inputs
    before, after = Session(model.network).run(inputs), Session(other.network).run(inputs)
    for name, value in before.items():
        assert relative_difference(value, after[name]) < 2e-6, name


def test_an_add_ties_every_layer_that_writes_into_it():
    group = group_of(toys.residual(), "conv_0")
    assert names(group.producers) == ["conv_0", "conv_4"]
    assert names(group.consumers) == ["conv_2", "conv_7"]
    assert group.size == 8


def test_channels_padded_with_zeros_take_the_factors_of_what_is_added():
    group = group_of(toys.sliced_shortcut(), "conv_0")
    assert names(group.producers) == ["conv_0", "conv_6"]
    stem, branch = (slot.classes for slot in group.producers)
    assert branch[3:9].tolist() == stem.tolist()
    assert group.size == 12


def test_a_concat_keeps_its_slices_apart():
    found = channels_of(toys.concat())
    written = {s.layer.name: s.classes.tolist() for s in found.writers}
    read = {s.layer.name: s.classes.tolist() for s in found.readers}
    assert read["conv_7"] == written["conv_2"] + written["conv_4"]


def test_a_shuffle_is_followed():
    found = channels_of(toys.channel_shuffle())
    written = next(s.classes for s in found.writers if s.layer.name == "conv_2")
    read = next(s.classes for s in found.readers if s.layer.name == "conv_7")
    assert read.tolist() == written.reshape(2, 4).T.ravel().tolist()


def test_flattening_repeats_a_channel_over_its_pixels():
    found = channels_of(toys.softmax())
    written = next(s.classes for s in found.writers if s.layer.name == "conv_0")
    read = next(s.classes for s in found.readers if s.layer.name == "gemm_4")
    assert read.tolist() == np.repeat(written, 9).tolist()


def test_a_gate_does_not_hold_the_channels_it_weighs():
    group = group_of(toys.se_block(), "conv_0")
    assert not group.blocked
    assert names(group.consumers) == ["conv_3", "conv_8"]


@pytest.mark.parametrize(
    ("toy", "layer", "reason"),
    [
        ("conv_chain", "conv_4", "output of the network"),
        ("silu", "conv_0", "Sigmoid"),
        ("hard_swish", "conv_2", "HardSwish"),
        ("softmax", "gemm_4", "Softmax"),
    ],
)
def test_what_cannot_be_rescaled_says_why(toy, layer, reason):
    group = group_of(toys.TOYS[toy](), layer)
    assert group.size == 0
    assert reason in group.blocked


def test_adding_the_input_of_the_network_holds_a_layer():
    net = Net("shortcut")
    x = net.input("x", 3, 4, 4)
    added = net.op("Add", x, net.conv(x, 3, 3))
    net.output(net.conv(added, 3, 2), 2, 4, 4)
    group = group_of(net.build(), "conv_0")
    assert "'x' is an input" in group.blocked


def test_a_shift_of_channels_with_zeros_among_them_is_not_crossed():
    net = Net("shifted_padding")
    x = net.conv(net.input("x", 3, 4, 4), 3, 4)
    pads = net.constant(np.array([0, 1, 0, 0, 0, 1, 0, 0]))
    x = net.op("Add", net.op("Pad", x, pads), net.constant([1.0]))
    net.output(net.conv(x, 6, 2), 2, 4, 4)
    assert group_of(net.build(), "conv_0").size == 0


def test_a_shared_weight_blocks_the_layers_that_share_it():
    groups = channels_of(toys.shared_weights()).groups()
    assert [names(group.producers) for group in groups] == [["conv_0"], ["conv_6"]]
    assert "conv_2" in groups[0].blocked


def test_weights_of_every_layout_come_back_from_blocks():
    for toy in ("conv_transpose", "channel_shuffle", "gemm", "matmul", "conv1d"):
        for layer in layers(toys.TOYS[toy]().graph):
            weight = np.asarray(constant(layer.weight))
            blocks = to_blocks(layer, weight)
            groups, out, inside = blocks.shape[:3]
            assert (groups * out, groups * inside) == (layer.out_channels, in_channels(layer))
            assert np.array_equal(from_blocks(layer, blocks), weight)


def test_custom_domains_are_not_crossed():
    model = toys.conv_chain().copy()
    relu = next(node for node in model.graph if node.op_type == "Relu")
    strange = ir.node("Relu", relu.inputs, domain="strange", name="strange_one")
    strange.outputs[0].shape, strange.outputs[0].type = relu.outputs[0].shape, relu.outputs[0].type
    model.graph.insert_before(relu, strange)
    for use in list(relu.outputs[0].uses()):
        use.node.replace_input_with(use.idx, strange.outputs[0])
    model.graph.remove(relu, safe=True)
    assert "strange_one" in group_of(model, "conv_0").blocked
