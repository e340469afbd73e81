"""Writes average pools in the form that ONNX Runtime's integer kernel computes correctly.

QLinearAveragePool with `count_include_pad` also counts what `ceil_mode` adds behind the padding,
against the definition and against ONNX Runtime's own float kernel.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from fewbits.graph import add_constant, int_attribute
from fewbits.model import Encoding
from fewbits.windows import Window, numbers, window


def settle_average_pools(graph: ir.Graph, encodings: Mapping[str, Encoding]) -> dict[str, Encoding]:
    """Rewrite each quantized AveragePool with `ceil_mode` and `count_include_pad`, in place.

    The values stay the same: one of the two attributes has no effect and is dropped, or else the
    padding becomes a node of its own.

    Returns:
        Encodings of the padded tensors; without them ONNX Runtime would fuse the padding back.
    """
    added = {}
    for node in list(graph):
        source = encodings.get(str(node.inputs[0].name)) if node.inputs and node.inputs[0] else None
        both = int_attribute(node, "ceil_mode", 0) and int_attribute(node, "count_include_pad", 0)
        if node.op_type != "AveragePool" or source is None or not both:
            continue
        place = _window(node)
        if not any(numbers(node, "pads", ())):
            _set(node, "count_include_pad", 0)
        elif place is not None and max(place.surplus) <= 0:
            _set(node, "ceil_mode", 0)
        elif place is not None:
            added[_pad_before(graph, node, place)] = source
    return added


def _window(node: ir.Node) -> Window | None:
    source = node.inputs[0]
    shape = source.shape if source is not None else None
    sizes = [size for size in list(shape or ())[2:] if isinstance(size, int)]
    kernel = numbers(node, "kernel_shape", ())
    return window(node, kernel, sizes) if len(sizes) == len(kernel) else None


def _pad_before(graph: ir.Graph, node: ir.Node, place: Window) -> str:
    """Pad in a node of its own; return the name of what it writes."""
    ends = [end + min(more, 0) for end, more in zip(place.end, place.surplus, strict=True)]
    edges = np.array([0, 0, *place.begin, 0, 0, *ends], np.int64)
    pads = add_constant(graph, f"{node.name}.pads", edges)
    pad = ir.node("Pad", [node.inputs[0], pads], name=f"{node.name}.pad")
    pad.outputs[0].name = f"{node.name}.padded"
    graph.insert_before(node, pad)
    node.replace_input_with(0, pad.outputs[0])
    _set(node, "count_include_pad", 0)
    del node.attributes["pads"]
    return str(pad.outputs[0].name)


def _set(node: ir.Node, name: str, value: int) -> None:
    node.attributes[name] = ir.AttrInt64(name, value)
