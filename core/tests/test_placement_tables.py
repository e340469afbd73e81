from dataclasses import replace

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.placement import place
from fewbits.testing.net import Net


def _gated(reader):
    """Conv → Sigmoid → Transpose → Transpose, then `reader` of that and the picture."""
    net = Net("gated")
    x = net.op("Relu", net.conv(net.input("image", 3, 4, 4), 3, 3, 1))
    gate = net.op("Sigmoid", net.conv(x, 3, 3, 1), name="gate")
    moved = net.op("Transpose", gate, name="there", perm=[0, 2, 3, 1])
    moved = net.op("Transpose", moved, name="back", perm=[0, 3, 1, 2])
    net.output(reader(net, x, moved), 3, 4, 4)
    return net.build()


def test_a_table_is_encoded_before_the_ops_that_move_it_to_an_integer_op():
    model = _gated(lambda net, x, moved: net.op("Mul", x, moved))
    placement = place(model.graph, CpuTarget.spec)
    assert "gate_out" in placement.own
    assert placement.inherited == {"there_out": "gate_out", "back_out": "there_out"}
    assert placement.float_nodes == []


@pytest.mark.parametrize("op", ["Softmax", "Identity"])
def test_a_table_that_no_integer_op_reads_stays_float_behind_what_moves_it(op):
    model = _gated(lambda net, x, moved: net.op(op, moved, name="last"))
    placement = place(model.graph, CpuTarget.spec)
    assert "gate_out" not in placement.own
    assert {"there", "back", "last"} <= {node.name for node in placement.float_nodes}


def test_a_table_behind_a_fused_activation_is_computed_in_integers():
    net = Net("fused")
    x = net.op("Relu", net.conv(net.input("image", 3, 4, 4), 3, 3, 1))
    gate = net.op("Relu", net.conv(x, 3, 3, 1), name="fused")
    gate = net.op("Mul", gate, net.op("Sigmoid", gate), name="table")
    moved = net.op("Transpose", gate, name="moved", perm=[0, 1, 3, 2])
    net.output(net.op("Mul", x, moved), 3, 4, 4)
    placement = place(net.build().graph, CpuTarget.spec)
    assert placement.float_nodes == []
    assert {"fused_out", "table_out"} <= placement.own.keys()
    assert placement.inherited == {"moved_out": "table_out"}


@pytest.mark.parametrize("float_ops", [True, False])
def test_a_table_of_the_input_takes_integers_where_nothing_runs_in_float(float_ops):
    net = Net("centred")
    mean = net.constant(np.array([1, 2, 3], np.float32).reshape(1, 3, 1, 1))
    x = net.op("Sub", net.input("image", 3, 4, 4), mean, name="mean")
    net.output(net.conv(x, 3, 4), 4, 4, 4)
    placement = place(net.build().graph, replace(CpuTarget.spec, float_ops=float_ops))
    assert "mean_out" in placement.own
    assert ("image" in placement.own) is not float_ops
    assert [node.name for node in placement.float_nodes] == (["mean"] if float_ops else [])
