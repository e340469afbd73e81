"""Upper bounds that no calibration sample meets: their Clips become Relus."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from fewbits.calibration import TensorStatistics
from fewbits.graph import clip_bounds


def unbound(graph: ir.Graph, statistics: Mapping[str, TensorStatistics]) -> dict[str, float]:
    """Make a Relu of each `Clip(0, B)` whose largest value stays below `B`, in place.

    Args:
        graph: the graph; names of nodes and values stay.
        statistics: by name, of the tensors that clips write; others are left as they are.

    Returns:
        Name of each → the largest value seen.
    """
    found: dict[str, float] = {}
    for node in list(graph):
        bounds = clip_bounds(node) if node.op_type == "Clip" else None
        seen = statistics.get(str(node.outputs[0].name))
        if bounds is None or seen is None or node.outputs[0].is_graph_output():
            continue
        if bounds[0] == 0.0 and seen.high < bounds[1] < np.inf:
            _as_relu(graph, node)
            found[str(node.name)] = seen.high
    return found


def _as_relu(graph: ir.Graph, node: ir.Node) -> None:
    output = node.outputs[0]
    new = ir.node("Relu", node.inputs[:1], name=node.name)
    result = new.outputs[0]
    result.shape, result.type = output.shape, output.type
    graph.insert_before(node, new)
    for use in list(output.uses()):
        use.node.replace_input_with(use.idx, result)
    graph.remove(node, safe=True)
    name, output.name = output.name, None
    result.name = name
