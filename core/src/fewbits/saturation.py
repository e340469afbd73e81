"""A self-test of the processor: do products of unsigned and signed bytes saturate?"""

from functools import cache

import numpy as np
import onnx_ir as ir

from fewbits.graph import add_constant
from fewbits.runtime import Session


@cache
def products_saturate() -> bool:
    """Run a tiny integer convolution whose exact sum overflows 16 bits; say if it comes out wrong.

    x86 processors without VNNI add pairs of u8·s8 products in 16 bits: 255·127·2 does not fit.
    """
    x = np.full((1, 8, 4, 4), 255.0, np.float32)
    result = Session(_probe()).run({"x": x})["y"]
    return not np.allclose(result, 255.0 * 127.0 * 8 * 9, rtol=0.01)


def _probe() -> ir.Model:
    """Return a QDQ convolution with weights of 127 on inputs of 255, 3×3 over 8 channels."""
    x = ir.Value(name="x", shape=ir.Shape([1, 8, 4, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 21}, name="probe")
    one = add_constant(graph, "one", np.array(1.0, np.float32))
    step = add_constant(graph, "step", np.array(255.0 * 127.0 * 8 * 9 / 200, np.float32))
    zero_u8 = add_constant(graph, "zero_u8", np.zeros((), np.uint8))
    zero_s8 = add_constant(graph, "zero_s8", np.zeros((), np.int8))
    weight = add_constant(graph, "weight", np.full((16, 8, 3, 3), 127, np.int8))
    nodes = [
        q := ir.node("QuantizeLinear", [x, one, zero_u8]),
        d := ir.node("DequantizeLinear", [q.outputs[0], one, zero_u8]),
        w := ir.node("DequantizeLinear", [weight, one, zero_s8]),
        c := ir.node("Conv", [d.outputs[0], w.outputs[0]]),
        p := ir.node("QuantizeLinear", [c.outputs[0], step, zero_u8]),
        y := ir.node("DequantizeLinear", [p.outputs[0], step, zero_u8]),
    ]
    graph.extend(nodes)
    y.outputs[0].name = "y"
    y.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.append(y.outputs[0])
    return ir.Model(graph, ir_version=10)
