"""ONNX ops in torch: what each node computes, differentiable where the op is.

`OPS[op_type](node, inputs)` gets the node and its inputs in order (None where one is left out) and
returns its outputs in order; those that nothing reads may be missing at the end. Constants come as
tensors; what an op needs as plain numbers it takes from them.
"""

from collections.abc import Mapping

import onnx_ir as ir

from fewbits.trainable.ops_base import Inputs, Op, given, optional, unknown
from fewbits.trainable.ops_constants import CONSTANTS
from fewbits.trainable.ops_elementwise import ELEMENTWISE
from fewbits.trainable.ops_linear import LINEAR
from fewbits.trainable.ops_pools import POOLS
from fewbits.trainable.ops_resize import RESIZE
from fewbits.trainable.ops_shapes import SHAPES

__all__ = ["OPS", "Inputs", "Op", "given", "op_of", "optional", "unknown"]

OPS: Mapping[str, Op] = {**CONSTANTS, **ELEMENTWISE, **LINEAR, **POOLS, **RESIZE, **SHAPES}


def op_of(node: ir.Node) -> Op:
    """Return what computes a node.

    Raises:
        ModelError: its op is not known here, or belongs to another domain than ONNX's own.
    """
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPS:
        raise unknown(node)
    return OPS[node.op_type]
