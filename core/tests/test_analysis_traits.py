"""What the graph says of each place."""

import pytest
from fewbits.analysis.places import places
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.testing import toys
from fewbits.testing.inspection import context
from fewbits.testing.net import Net


def found(model):
    after = UniformQuantizer().apply(model, context(CpuTarget(), toys.calibration(model))).model
    return places(after)


def with_trait(model, trait):
    return [place.op_type for place in found(model) if trait in place.traits]


@pytest.mark.parametrize("toy", ["silu", "hard_swish"])
def test_swishes(toy):
    assert len(with_trait(toys.TOYS[toy](), "swish")) == 2


def test_a_hard_swish_made_of_parts():
    net = Net("parts")
    x = net.conv(net.input("image", 3, 8, 8), 3, 8)
    low, high, six = (net.constant([v]) for v in (0.0, 6.0, 6.0))
    gate = net.op("Clip", net.op("Add", x, net.constant([3.0])), *(low, high))
    x = net.op("Div", net.op("Mul", x, gate), six)
    net.output(net.conv(x, 8, 4, 1), 4, 8, 8)
    assert with_trait(net.build(), "swish")


@pytest.mark.parametrize("toy", ["conv_chain", "residual", "se_block", "leaky", "gemm"])
def test_no_swish_where_there_is_none(toy):
    assert with_trait(toys.TOYS[toy](), "swish") == []


def test_layers_at_the_ends_depthwise_and_concat():
    model = toys.depthwise()
    assert [("first" in p.traits, "last" in p.traits) for p in found(model) if p.layer] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    assert sum("depthwise" in place.traits for place in found(model)) == 1
    assert with_trait(toys.concat(), "concat") == ["Concat"]


def test_both_heads_are_last():
    held = found(toys.two_outputs())
    assert sum("last" in place.traits for place in held) == 2


def test_a_concat_before_an_output_and_what_feeds_it():
    net = Net("heads")
    x = net.op("Relu", net.conv(net.input("image", 3, 8, 8), 3, 8))
    net.output(net.op("Concat", net.conv(x, 8, 4), net.conv(x, 8, 2), axis=1), 6, 8, 8)
    place = found(net.build())[-1]
    assert {"concat", "ends", "output"} <= place.traits
    assert len(place.feeds) == 2


def test_what_a_sigmoid_or_a_softmax_reads():
    assert with_trait(toys.softmax(), "softmax") == ["Gemm"]
    net = Net("boxes")
    x = net.conv(net.input("image", 3, 8, 8), 3, 8)
    net.output(net.op("Sigmoid", x), 8, 8, 8)
    assert with_trait(net.build(), "sigmoid") == ["Conv"]
    assert with_trait(toys.silu(), "sigmoid") == []
