"""Which tensors the quantized and the float network are compared at."""

from collections.abc import Sequence

import onnx_ir as ir
from fewbits.errors import RecipeError, nearest
from fewbits.graph import constant, layers, rank, readers, values_by_name
from fewbits.model import Model

_POOLS = ("GlobalAveragePool", "GlobalMaxPool")
_PICTURE = 4


def backbone_output(graph: ir.Graph) -> str | None:
    """Return the name of the last tensor with spatial axes that a global pool reads.

    Global pools are written as such, as a mean over the spatial axes, or as an average pool over
    the whole map. None if there is none: a detector's heads are compared directly.
    """
    found = [node.inputs[0] for node in graph if _pools_everything(node)]
    behind = [v for v in found if v is not None and not _gates(v)]
    return str(behind[-1].name) if behind else None


def _pools_everything(node: ir.Node) -> bool:
    source, output = (node.inputs[0] if node.inputs else None), node.outputs[0]
    if source is None or (rank(source) or 0) < 3:
        return False
    if node.op_type in _POOLS:
        return True
    if node.op_type == "AveragePool":
        return all(size == 1 for size in list(output.shape or (0,))[2:])
    return node.op_type == "ReduceMean" and _spatial_axes(node, rank(source) or _PICTURE)


def _spatial_axes(node: ir.Node, dimensions: int) -> bool:
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None:
        return False
    return {int(axis) % dimensions for axis in axes.ravel()} == set(range(2, dimensions))


def _gates(value: ir.Value) -> bool:
    """Whether the map is read by others than the pool: a squeeze-and-excite block's."""
    return len(readers(value)) > 1


def compared_tensors(
    model: Model, names: Sequence[str], factors: Sequence[float]
) -> dict[str, float]:
    """Return tensor name → factor of everything that is compared.

    Args:
        model: the quantized model.
        names: layers, or tensors; if empty the backbone's output and the network's outputs.
        factors: one for each of `names`; 1 if empty.

    Raises:
        RecipeError: there is no such layer or tensor, or it lies in front of an activation that
            is computed along with the layer.
    """
    if not names:
        found = backbone_output(model.graph)
        return dict.fromkeys([*([found] if found else []), *model.output_names], 1.0)
    of_layer = {layer.name: str(layer.output.name) for layer in layers(model.graph)}
    known = {**{name: name for name in values_by_name(model.graph)}, **of_layer}
    for name in names:
        if name not in known:
            raise RecipeError(
                f"step 'qft': there is no layer or tensor '{name}'.", hint=nearest(name, of_layer)
            )
    for layer in layers(model.graph):
        inside = str(layer.node.outputs[0].name)
        if layer.output is not layer.node.outputs[0] and inside in names:
            raise RecipeError(
                f"step 'qft': '{inside}' lies in front of the activation that layer '{layer.name}' "
                "computes along, and is never held.",
                hint=f"Name the layer, which is compared behind it: {layer.name}.",
            )
    weights = factors or [1.0] * len(names)
    return {known[name]: factor for name, factor in zip(names, weights, strict=True)}
