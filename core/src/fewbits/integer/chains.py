"""Element-wise functions of one tensor, which a device without float computes by table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.errors import ModelError
from fewbits.graph import constant
from fewbits.model import Encoding
from fewbits.numerics import dequantize, quantize
from fewbits.reference import run_nodes

#: ops whose every output element depends on one element of each input.
_ELEMENTWISE = (
    "Abs Add Ceil Clip Cos Div Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu "
    "Log Max Min Mish Mul Neg PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus "
    "Softsign Sqrt Sub Tanh ThresholdedRelu"
)
ELEMENTWISE_OPS = frozenset(_ELEMENTWISE.split())


@dataclass(frozen=True)
class Chain:
    """Nodes that compute one tensor from another, element by element.

    Args:
        root: what they read.
        nodes: in order; the last one writes the result.
    """

    root: ir.Value
    nodes: tuple[ir.Node, ...]

    @property
    def output(self) -> ir.Value:
        """What they write."""
        return self.nodes[-1].outputs[0]


def chain_behind(output: ir.Value, held: frozenset[str]) -> Chain | None:
    """Return the chain that writes a value, back to the one tensor in integers that it reads.

    If it reads several that are functions of one, `f(x) + g(x)` where `f(x)` is held too, it goes
    back to that one.

    Args:
        output: a computed value.
        held: names of the tensors that are represented in integers.

    Returns:
        None if it depends on no such tensor, on several, or on anything else that varies.
    """
    while (found := _back_to(output, held)) is not None:
        roots, nodes = found
        if len(roots) == 1:
            return Chain(roots.pop(), nodes)
        inner = [root for root in roots if _elementwise(root.producer())]
        if not inner:
            return None
        held = held - {str(max(inner, key=_position).name)}
    return None


def varies_along(chain: Chain) -> set[int]:
    """Return the axes, counted from the end, along which a chain's constants differ."""
    inputs = (v for node in chain.nodes for v in node.inputs)
    constants = (np.asarray(a) for v in inputs if (a := constant(v)) is not None)
    return {axis - a.ndim for a in constants for axis, size in enumerate(a.shape) if size > 1}


def _back_to(
    output: ir.Value, held: frozenset[str]
) -> tuple[set[ir.Value], tuple[ir.Node, ...]] | None:
    """Return the held values that element-wise nodes compute a value from, and these nodes."""
    found: dict[ir.Node, None] = {}
    roots: set[ir.Value] = set()
    pending = [output.producer()]
    while pending:
        node = pending.pop()
        if node is None or not _elementwise(node):
            return None
        found.pop(node, None)  # again, behind whatever else reads it
        found[node] = None
        varying = [v for v in node.inputs if v is not None and constant(v) is None]
        roots |= {v for v in varying if v.name in held}
        pending += [v.producer() for v in varying if v.name not in held]
    return roots, tuple(reversed(found))


def _elementwise(node: ir.Node | None) -> bool:
    return node is not None and node.op_type in ELEMENTWISE_OPS


def _position(value: ir.Value) -> int:
    """Return where a value is computed in its graph."""
    node = value.producer()
    assert node is not None
    return list(node.graph or ()).index(node)


@dataclass(frozen=True)
class Table:
    """Every integer's image.

    Args:
        entries: `(levels,)`, or `(channels, levels)` where constants differ along an axis.
        axis: that axis of the tensor, counted from its end; None for one table.
    """

    entries: NDArray[np.int64]
    axis: int | None = None

    def look_up(self, q: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the entries at `q`."""
        if self.axis is None:
            return self.entries[q]
        shape = [1] * q.ndim
        shape[self.axis] = -1
        return self.entries[np.arange(len(self.entries)).reshape(shape), q]


def tabulate(chain: Chain, source: Encoding, target: Encoding, opsets: Mapping[str, int]) -> Table:
    """Return `T[q] = quantize(f(dequantize(q)))` for every integer of the source.

    Args:
        chain: the function; its constants may differ along one axis.
        source: encoding of what it reads.
        target: encoding of what it writes.
        opsets: domain → version.

    Raises:
        ModelError: its constants differ along several axes.
    """
    rank = len(chain.root.shape or ())
    levels = np.arange(source.qmin, source.qmax + 1)
    x = dequantize(levels, source).reshape(-1, *(1,) * rank)
    name = str(chain.output.name)
    y: NDArray[Any] = run_nodes(chain.nodes, {str(chain.root.name): x}, [name], opsets)[name]
    wide = [axis for axis in range(1, y.ndim) if y.shape[axis] > 1]
    if y.ndim != rank + 1 or len(wide) > 1:
        raise ModelError(
            f"The function that '{chain.nodes[-1].name}' ends differs along several axes: "
            "it is no table.",
            hint="Cut the network off before it with --end-node-names.",
        )
    entries = quantize(y.astype(np.float32), target)
    if not wide:
        return Table(entries.ravel())
    return Table(np.moveaxis(entries, wide[0], 0).reshape(y.shape[wide[0]], -1), wide[0] - y.ndim)
