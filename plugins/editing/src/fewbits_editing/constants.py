"""Constants of single nodes."""

import numpy as np
import onnx_ir as ir
from fewbits.graph import add_constant, free_name, set_constant
from numpy.typing import NDArray


def own_constant(
    graph: ir.Graph,
    node: ir.Node,
    index: int,
    array: NDArray[np.float32],
    masks: dict[str, NDArray[np.bool_]],
) -> None:
    """Give a node another constant; one that others read too stays as it is for them.

    Args:
        graph: the graph.
        node: the node.
        index: which of its inputs.
        array: the new contents.
        masks: of pruned weights; gets that of a constant that is copied.
    """
    value = node.inputs[index]
    assert value is not None
    if len(list(value.uses())) == 1:
        set_constant(value, array)
        return
    name = free_name(graph, f"{value.name}.{node.name}")
    node.replace_input_with(index, add_constant(graph, name, array))
    if str(value.name) in masks:
        masks[name] = masks[str(value.name)]
