"""Nodes run by ONNX's reference implementation, in plain numpy."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TypeProto, helper
from onnx.reference import ReferenceEvaluator

from fewbits.graph import constant


def names(values: Sequence[ir.Value | None]) -> Iterator[str]:
    """Yield the names of the values that are there."""
    yield from (str(value.name) for value in values if value is not None and value.name)


def run_nodes(
    nodes: Sequence[ir.Node],
    values: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    opsets: Mapping[str, int],
) -> dict[str, NDArray[Any]]:
    """Return what nodes compute.

    Args:
        nodes: in order.
        values: tensor name → array, of what the nodes read and do not compute. The constants
            among it may be missing.
        outputs: names of the tensors to return.
        opsets: domain → version.
    """
    given = {**_constants(nodes), **values}
    protos = [ir.to_proto(node) for node in nodes]
    ids = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    kinds = {name: helper.np_dtype_to_tensor_dtype(x.dtype) for name, x in given.items()}
    entries = [helper.make_tensor_value_info(n, kinds[n], x.shape) for n, x in given.items()]
    results = [helper.make_value_info(name, TypeProto()) for name in outputs]
    graph = helper.make_graph(protos, "nodes", entries, results)
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=ids))
    found: Any = evaluator.run(list(outputs), given)
    return dict(zip(outputs, map(np.asarray, found), strict=True))


def _constants(nodes: Sequence[ir.Node]) -> dict[str, NDArray[Any]]:
    inputs = [value for node in nodes for value in node.inputs if value is not None]
    return {str(v.name): np.asarray(a) for v in inputs if (a := constant(v)) is not None}
