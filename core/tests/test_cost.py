import numpy as np
import pytest
from fewbits.cost import elements, macs, work
from fewbits.testing import toys
from fewbits.testing.net import Net

SIDE = toys.SIDE


def _macs(model):
    return {str(node.name): macs(node) for node in model.graph if macs(node)}


def test_convolutions_by_hand():
    pixels = SIDE * SIDE
    assert list(_macs(toys.depthwise()).values()) == [
        pixels * 12 * 3,
        pixels * 12 * 3 * 3,
        pixels * 6 * 12,
    ]


def test_strides_count_the_pixels_written_and_groups_the_channels_read():
    net = Net("one")
    x = net.conv(net.input("x", 4, 9, 9), 4, 8, (3, 1), group=2, strides=[2, 2], pads=[1, 0, 1, 0])
    net.output(x, 8, 5, 5)
    assert list(_macs(net.build()).values()) == [5 * 5 * 8 * (4 // 2) * 3 * 1]


def test_a_transposed_convolution_by_hand():
    assert _macs(toys.conv_transpose())["up"] == 6 * 6 * 8 * 6 * 2 * 2


def test_gemms_and_matmuls_by_hand():
    assert list(_macs(toys.gemm()).values()) == [32 * 16, 16 * 5]
    assert list(_macs(toys.matmul()).values()) == [6 * 16 * 12, 6 * 12 * 4]


def test_a_gemm_whose_weight_lies_the_other_way():
    net = Net("one")
    net.output(net.op("Gemm", net.input("x", 6), net.normal((6, 5), 6)), 5)
    assert list(_macs(net.build()).values()) == [30]


def test_a_signal_by_hand():
    assert list(_macs(toys.conv1d()).values()) == [32 * 8 * 2 * 5, 16 * 8 * 8 * 5, 8 * 3]


def test_other_ops_work_as_much_as_they_write():
    relu = next(node for node in toys.residual().graph if node.op_type == "Relu")
    assert macs(relu) == 0
    assert work(relu) == 8 * SIDE * SIDE


@pytest.mark.parametrize("toy", ["conv_chain", "gemm"])
def test_a_layers_work_is_its_multiplications(toy):
    for node in toys.TOYS[toy]().graph:
        assert work(node) == (macs(node) or elements(node.outputs[0]))


def test_elements_are_those_of_one_sample():
    net = Net("one")
    net.output(net.op("Relu", net.input("x", 2, 3)), 2, 3)
    model = net.build()
    assert elements(model.graph.inputs[0]) == np.prod([2, 3])
    assert elements(None) == 0
