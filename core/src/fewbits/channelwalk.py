"""The state of a walk that labels every number of every tensor (see `channels`)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from fewbits.graph import Layer, constant
from fewbits.ties import ZERO, Ids, Ties

#: how many samples the walk pretends to have: enough to see whether labels depend on the sample.
BATCH = 2


@dataclass(frozen=True)
class Labels:
    """One label for each number of a tensor.

    Args:
        shape: the tensor's, with `BATCH` samples where the batch is free.
        ids: labels, in a shape that broadcasts to `shape`, of the same rank.
    """

    shape: tuple[int, ...]
    ids: Ids

    @property
    def full(self) -> Ids:
        """The labels in the tensor's own shape; not to be written to."""
        return np.broadcast_to(self.ids, self.shape)


class Walk:
    """Labels of tensors so far, and the layers and constants met on the way.

    Args:
        graph: what is walked; its inputs are fixed.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.ties = Ties()
        self.held: dict[ir.Value, Labels | None] = {}
        self.writers: list[tuple[Layer, Ids]] = []
        self.readers: list[tuple[Layer, Ids]] = []
        self.operands: list[tuple[ir.Node, int, Ids]] = []
        self._batches = {str(v.shape[0]) for v in graph.inputs if v.shape}
        for value in graph.inputs:
            if value.name not in graph.initializers:
                self.hold_fixed(value, f"'{value.name}' is an input of the network")

    def labels(self, value: ir.Value | None) -> Labels | None:
        """Return a computed tensor's labels; None for what has none: constants, unknown shapes."""
        return None if value is None else self.held.get(value)

    def hold(self, value: ir.Value, ids: Ids, shape: tuple[int, ...] | None = None) -> bool:
        """Give a tensor its labels, constant axes made short; return True, as rules do."""
        self.held[value] = Labels(shape or ids.shape, _compact(ids))
        return True

    def hold_fixed(self, value: ir.Value, reason: str) -> None:
        """Give a tensor one label that cannot be rescaled."""
        shape = self.shape(value)
        if shape is None or value.dtype is not ir.DataType.FLOAT:
            self.held[value] = None
            return
        label = np.full((1,) * len(shape), self.ties.fixed(reason), np.int64)
        self.held[value] = Labels(shape, label)

    def fix(self, value: ir.Value, reason: str) -> None:
        """Let a tensor not be rescaled."""
        labels = self.labels(value)
        if labels is not None:
            self.ties.fix(labels.ids, reason)

    def stop(self, node: ir.Node) -> None:
        """Let nothing that a node reads or writes be rescaled."""
        reason = f"{node.op_type} '{node.name}' does not commute with scaling"
        for value in node.inputs:
            if value is not None:
                self.fix(value, reason)
        for value in node.outputs:
            self.hold_fixed(value, reason)

    def shape(self, value: ir.Value) -> tuple[int, ...] | None:
        """Return a tensor's shape with `BATCH` samples; None where inference did not find it."""
        if value.shape is None:
            return None
        sizes: list[int] = []
        for place, size in enumerate(value.shape):
            if isinstance(size, int):
                sizes.append(size)
            elif place == 0 and str(size) in self._batches:
                sizes.append(BATCH)
            else:
                return None
        return tuple(sizes)

    def like(self, value: ir.Value, source: Labels) -> tuple[int, ...] | None:
        """Return a tensor's shape, its batch being that of another one."""
        sizes = () if value.shape is None else tuple(value.shape)[1:]
        whole = tuple(size for size in sizes if isinstance(size, int))
        return (source.shape[0], *whole) if whole and len(whole) == len(sizes) else None

    def united(self, ids: Ids, axes: Iterable[int]) -> Ids:
        """Tie the labels along some axes and return one for each; the axes become short."""
        for axis in axes:
            if ids.shape[axis] > 1:
                place = np.argmax(ids != ZERO, axis=axis, keepdims=True)
                first = np.take_along_axis(ids, place, axis)
                self.ties.unite(first, ids)
                ids = first
        return ids

    def channels(self, labels: Labels, axis: int) -> Ids:
        """Return one label for each channel, tying whatever lies in the same channel."""
        others = [a for a in range(len(labels.shape)) if a != axis % len(labels.shape)]
        ids = self.united(labels.ids, others).reshape(-1)
        return np.broadcast_to(ids, (labels.shape[axis],)).copy()

    def constants(self, value: ir.Value) -> Ids:
        """Return labels for a constant among tensors: fixed, and `ZERO` where it is zero."""
        array = np.asarray(constant(value))
        label = self.ties.fixed(f"'{value.name}' is a constant")
        return np.where(array == 0, ZERO, label).astype(np.int64)


def _compact(ids: Ids) -> Ids:
    """Return labels with every axis along which they do not change cut to length 1."""
    for axis in range(ids.ndim):
        if ids.shape[axis] > 1:
            first = np.take(ids, [0], axis)
            if np.array_equal(np.broadcast_to(first, ids.shape), ids):
                ids = first
    return ids
