"""The batch dimension: free it where the network allows, and settle what depends on it."""

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.builtin.onnx_fold import add_initializer
from fewbits.builtin.onnx_shapes import BATCH, infer_shapes
from fewbits.builtin.onnx_simplify import fold_constants
from fewbits.errors import ModelError
from fewbits.runtime import Session

#: Where `network.metadata_props` says whether the batch is free, and why not.
NOTE = "fewbits.batch"
_TRIALS = (2, 3)  # batch sizes at which a symbolic graph is looked at
_TOLERANCE = 1e-4  # of the largest output; kernels may add in another order


def settle(network: ir.Model) -> None:
    """Replace what is computed from shapes by constants, the batch by -1; in place.

    The graph is folded at two batch sizes. What comes out equal does not depend on the batch;
    a Reshape's shape that differs in one place has the batch there.
    """
    if not any(node.op_type in ("Shape", "Size") for node in network.graph):
        return
    twins = [_folded_at(network, size) for size in _TRIALS]
    for node in list(network.graph):
        pair = [twin.get(str(node.name)) for twin in twins]
        if all(twin is not None and twin.op_type == node.op_type for twin in pair):
            _settle_inputs(network.graph, node, [twin for twin in pair if twin is not None])


def _folded_at(network: ir.Model, size: int) -> dict[str, ir.Node]:
    twin = at_batch(network, size)
    fold_constants(twin)
    return {str(node.name): node for node in twin.graph}


def at_batch(network: ir.Model, size: int) -> ir.Model:
    """Return a copy with shapes inferred for a batch of `size`; weights are shared."""
    twin = network.clone()
    for value in twin.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape([size if d == BATCH else d for d in _plain(value.shape)])
    infer_shapes(twin)
    return twin


def _plain(shape: Iterable[int | ir.SymbolicDim]) -> list[int | str | None]:
    return [d if isinstance(d, int) else d.value for d in shape]


def _settle_inputs(graph: ir.Graph, node: ir.Node, twins: list[ir.Node]) -> None:
    for index, value in enumerate(node.inputs):
        if value is None or value.const_value is not None:
            continue
        numbers = [_number(twin, index) for twin in twins]
        if numbers[0] is None or numbers[1] is None:
            continue
        settled = _without_batch(numbers[0], numbers[1], node.op_type == "Reshape" and index == 1)
        if settled is not None:
            node.replace_input_with(index, add_initializer(graph, f"{value.name}_settled", settled))


def _number(node: ir.Node, index: int) -> NDArray[np.generic] | None:
    value = node.inputs[index]
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _without_batch(
    first: NDArray[np.generic], second: NDArray[np.generic], is_reshape: bool
) -> NDArray[np.generic] | None:
    if np.array_equal(first, second):
        return first
    if not is_reshape or first.shape != second.shape or -1 in first:
        return None
    differs = first != second
    return np.where(differs, -1, first) if differs.sum() == 1 else None


def name_dimensions(network: ir.Model) -> None:
    """Write dimensions that inference left open in terms of the batch (`N`, `2*N`); in place."""
    if not any(_open(value) for value in _computed(network.graph)):
        return
    twins = [{str(v.name): v for v in _computed(at_batch(network, size).graph)} for size in _TRIALS]
    for value in _computed(network.graph):
        first, second = (twin[str(value.name)].shape for twin in twins)
        if first is not None and second is not None and len(first) == len(second):
            pairs = zip(_plain(first), _plain(second), strict=True)
            value.shape = ir.Shape([_dimension(a, b) for a, b in pairs])


def _computed(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in graph:
        yield from node.outputs


def _open(value: ir.Value) -> bool:
    if value.shape is None:
        return True
    return any(not isinstance(d, int) and d != BATCH for d in _plain(value.shape))


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
    return _plain(value.shape)[0] if value.shape is not None and len(value.shape) else None


def _with_free_batch(network: ir.Model, size: int) -> ir.Model:
    candidate = network.clone()
    for node in list(candidate.graph):
        if node.op_type == "Reshape":
            _free_reshape(candidate.graph, node, size)
    for value in candidate.graph.inputs:
        assert value.shape is not None
        value.shape = ir.Shape([BATCH, *_plain(value.shape)[1:]])
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
    samples = {str(v.name): _random(v, 2 * size, rng) for v in network.graph.inputs}
    halves = [{n: x[i : i + size] for n, x in samples.items()} for i in (0, size)]
    try:
        infer_shapes(candidate)
        fixed, free = Session(network), Session(candidate)
        parts = [fixed.run(half) for half in halves]
        whole, first = free.run(samples), free.run(halves[0])
    except (ModelError, RuntimeError) as error:
        return " ".join(str(error).split())[:200]
    for name in whole:
        if parts[0][name].shape[:1] != (size,):
            return f"output '{name}' has no batch"
        rows = np.concatenate([part[name] for part in parts])
        if not (_close(whole[name], rows) and _close(first[name], rows[:size])):
            return f"output '{name}' differs when the batch grows"
    return ""


def _random(value: ir.Value, size: int, rng: np.random.Generator) -> NDArray[np.generic]:
    assert value.shape is not None
    assert value.dtype is not None
    shape = (size, *(d for d in _plain(value.shape)[1:] if isinstance(d, int)))
    dtype = value.dtype.numpy()
    if value.dtype.is_floating_point():
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _close(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    if a.shape != b.shape:
        return False
    x, y = a.astype(np.float64), b.astype(np.float64)
    return bool(np.allclose(x, y, rtol=0, atol=_TOLERANCE * max(np.abs(y).max(initial=0), 1e-12)))
