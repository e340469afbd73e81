"""The batch dimension: free it where the network allows, and settle what depends on it."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
from numpy.typing import NDArray

from fewbits.builtin.onnx_fold import add_initializer
from fewbits.builtin.onnx_shapes import BATCH, infer_shapes, inferred_at
from fewbits.builtin.onnx_simplify import fold_constants
from fewbits.builtin.onnx_trial import close, dimensions, random_inputs
from fewbits.runtime import Session

#: Where `network.metadata_props` says whether the batch is free, and why not.
NOTE = "fewbits.batch"
_TRIALS = (2, 3)  # batch sizes at which a symbolic graph is looked at


def settle(network: ir.Model) -> ir.Model:
    """Fold constants, and replace what is computed from shapes by constants; in place.

    The graph is folded at two batch sizes as well. What comes out equal there does not depend
    on the batch; a Reshape's shape that differs in one place has the batch there, and gets -1.
    """
    fold_constants(network)
    if not any(node.op_type in ("Shape", "Size") for node in network.graph):
        return network
    twins = [_folded_at(network, size) for size in _TRIALS]
    for node in list(network.graph):
        pair = [twin[str(node.name)] for twin in twins if str(node.name) in twin]
        if [twin.op_type for twin in pair] == [node.op_type] * len(_TRIALS):
            _settle_inputs(network.graph, node, pair)
    common.RemoveUnusedNodesPass()(network)
    infer_shapes(network)
    return network


def _folded_at(network: ir.Model, size: int) -> dict[str, ir.Node]:
    twin = inferred_at(network, size)
    fold_constants(twin)
    return {str(node.name): node for node in twin.graph}


def _settle_inputs(graph: ir.Graph, node: ir.Node, twins: list[ir.Node]) -> None:
    for index, value in enumerate(node.inputs):
        if value is None or value.const_value is not None:
            continue
        first, second = (_number(twin, index) for twin in twins)
        if first is None or second is None or first.shape != second.shape:
            continue
        batch = first != second
        if not batch.any():
            _set_input(graph, node, index, first)
        elif (node.op_type, index) == ("Reshape", 1) and batch.sum() == 1 and -1 not in first:
            _set_input(graph, node, index, np.where(batch, -1, first))
        elif (node.op_type, index) == ("Expand", 1) and _keeps_batch(twins, first, batch):
            _set_input(graph, node, index, np.where(batch, 1, first))
        elif (node.op_type, index) == ("Resize", 3) and _keeps_batch(twins, first, batch):
            _use_scales(graph, node, first, np.asarray(_data_shape(twins[0])))


def _number(node: ir.Node, index: int) -> NDArray[np.generic] | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _set_input(graph: ir.Graph, node: ir.Node, index: int, number: NDArray[np.generic]) -> None:
    name = f"{node.name}.{index}"
    node.replace_input_with(index, add_initializer(graph, name, number))


def _data_shape(node: ir.Node) -> list[int | str | None]:
    data = node.inputs[0]
    return [] if data is None or data.shape is None else dimensions(data.shape)


def _keeps_batch(
    twins: list[ir.Node], asked: NDArray[np.generic], batch: NDArray[np.bool_]
) -> bool:
    """Say whether dimension 0 alone is the batch, and the node's data has it already."""
    shapes = [_data_shape(twin) for twin in twins]
    if batch[1:].any() or not all(len(shape) == len(asked) for shape in shapes):
        return False
    return [shape[0] for shape in shapes] == list(_TRIALS) and asked[0] == _TRIALS[0]


def _use_scales(
    graph: ir.Graph, node: ir.Node, sizes: NDArray[np.generic], shape: NDArray[np.generic]
) -> None:
    """Give a Resize scales for its sizes, which would name the batch, if they say the same."""
    scales = (sizes.astype(np.float64) / shape.astype(np.float64)).astype(np.float32)
    if np.array_equal(np.floor(shape.astype(np.float32) * scales), sizes):
        node.resize_inputs(3)
        _set_input(graph, node, 2, scales)


def name_dimensions(network: ir.Model) -> None:
    """Write dimensions that inference left open in terms of the batch (`N`, `2*N`); in place."""
    if not any(_open(value) for value in _computed(network.graph)):
        return
    twins = [
        {str(v.name): v for v in _computed(inferred_at(network, size).graph)} for size in _TRIALS
    ]
    for value in _computed(network.graph):
        first, second = (twin[str(value.name)].shape for twin in twins)
        if first is not None and second is not None and len(first) == len(second):
            pairs = zip(dimensions(first), dimensions(second), strict=True)
            value.shape = ir.Shape([_dimension(a, b) for a, b in pairs])


def _computed(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in graph:
        yield from node.outputs


def _open(value: ir.Value) -> bool:
    if value.shape is None:
        return True
    return any(not isinstance(d, int) and d != BATCH for d in dimensions(value.shape))


def _dimension(first: int | str | None, second: int | str | None) -> int | str | None:
    if not isinstance(first, int) or not isinstance(second, int):
        return None
    if first == second:
        return first
    factor, rest = divmod(first, _TRIALS[0])
    if rest or factor * _TRIALS[1] != second:
        return None
    return BATCH if factor == 1 else f"{factor}*{BATCH}"


def free_batch(network: ir.Model) -> ir.Model:
    """Return the network with a free batch if it computes the same so, else as it is.

    A fixed batch is replaced by `N`, in the inputs and at the head of each Reshape's constant
    shape; then ONNX Runtime must give the same rows, alone and together, as the fixed network.
    `metadata_props["fewbits.batch"]` says how it ended.
    """
    sizes = {_batch(value) for value in network.graph.inputs}
    if sizes == {BATCH}:
        network.metadata_props[NOTE] = "free"
        return network
    size = sizes.pop() if len(sizes) == 1 else None
    if not isinstance(size, int):
        network.metadata_props[NOTE] = "fixed: the inputs have no batch in common"
        return network
    candidate = _with_free_batch(network, size)
    reason = _difference(network, candidate, size)
    if reason:
        network.metadata_props[NOTE] = f"fixed at {size}: {reason}"
        return network
    candidate.metadata_props[NOTE] = "free"
    return candidate


def _batch(value: ir.Value) -> int | str | None:
    return dimensions(value.shape)[0] if value.shape is not None and len(value.shape) else None


def _with_free_batch(network: ir.Model, size: int) -> ir.Model:
    candidate = network.clone()
    for node in list(candidate.graph):
        if node.op_type == "Reshape":
            _free_reshape(candidate.graph, node, size)
    for value in candidate.graph.inputs:
        assert value.shape is not None
        value.shape = ir.Shape([BATCH, *dimensions(value.shape)[1:]])
    return candidate


def _free_reshape(graph: ir.Graph, node: ir.Node, size: int) -> None:
    """Let a Reshape's first dimension grow with the batch, unless it already has a free one."""
    data, shape = node.inputs
    if data is None or shape is None or shape.const_value is None or data.const_value is not None:
        return
    target = shape.const_value.numpy().copy()
    if target.size == 0 or (target <= 0).any():
        return
    same = data.shape is not None and len(data.shape) > 0 and data.shape[0] == size == target[0]
    target[0] = 0 if same and not node.attributes.get_int("allowzero", 0) else -1
    node.replace_input_with(1, add_initializer(graph, f"{node.name}.shape", target))


def _difference(network: ir.Model, candidate: ir.Model, size: int) -> str:
    """Return why the candidate does not compute the same, or nothing."""
    rng = np.random.default_rng(0)
    samples = random_inputs(candidate, 2 * size, rng)
    halves = [{n: x[i : i + size] for n, x in samples.items()} for i in (0, size)]
    try:
        infer_shapes(candidate)
        fixed, free = Session(network), Session(candidate)
        parts = [fixed.run(half) for half in halves]
        whole, first = free.run(samples), free.run(halves[0])
    except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
        return " ".join(str(error).split())[:200]
    for name in whole:
        if parts[0][name].shape[:1] != (size,):
            return f"output '{name}' has no batch"
        rows = np.concatenate([part[name] for part in parts])
        if not (close(whole[name], rows) and close(first[name], rows[:size])):
            return f"output '{name}' differs when the batch grows"
    return ""
