"""Channels that can be rescaled together without changing what a network computes.

Multiply what a layer writes into a channel by a positive factor, divide by it what the next
layer reads, and nothing changes, as long as everything between commutes with it: ReLU, pooling,
adding a channel of the same factor, moving numbers about. `find_channels` gives each channel of
each layer a class; channels of one class share their factor. Class 0 cannot be rescaled.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.channelrules import RULES
from fewbits.channelwalk import Walk
from fewbits.graph import Layer
from fewbits.ties import Ids


@dataclass(frozen=True)
class Slot:
    """The channels that a layer writes, or those that it reads.

    Args:
        layer: whose.
        classes: class of each channel, `(channels,)`; 0 where it cannot be rescaled.
        reason: why some of them cannot; empty when all can.
    """

    layer: Layer
    classes: Ids
    reason: str = ""


@dataclass(frozen=True)
class Operand:
    """A constant between layers that scales with what it is added to or compared with.

    Args:
        node: Add, Sub, Max, Min, or Clip (whose bounds scale).
        index: which of its inputs; -1 for both bounds of a Clip.
        classes: class of each element of the node's output, in a shape that broadcasts to it.
    """

    node: ir.Node
    index: int
    classes: Ids

    @property
    def is_clip(self) -> bool:
        """Whether this stands for the bounds of a Clip."""
        return self.index < 0


@dataclass(frozen=True)
class ChannelGroup:
    """Classes that come out of the same layers: the unit of work, and of reports.

    Args:
        classes: its free classes, ascending; each is of this group only.
        producers: the layers that write them.
        consumers: the layers that read some of them, and perhaps channels of other groups.
        operands: the constants that scale with them.
        blocked: why no channel of the group can be rescaled; empty when some can.
    """

    classes: Ids
    producers: tuple[Slot, ...]
    consumers: tuple[Slot, ...]
    operands: tuple[Operand, ...]
    blocked: str = ""

    @property
    def size(self) -> int:
        """How many factors can be chosen."""
        return len(self.classes)


@dataclass(frozen=True)
class Channels:
    """The outcome of `find_channels`.

    Args:
        count: number of classes, class 0 included: the length of a vector of factors.
        writers: every layer with the channels it writes, in the graph's order.
        readers: every layer with the channels it reads.
        operands: every constant that scales with its class.
        tensors: value name → class of each element, in a shape that broadcasts to the tensor's;
            tensors without any class but 0 are left out.
    """

    count: int
    writers: tuple[Slot, ...]
    readers: tuple[Slot, ...]
    operands: tuple[Operand, ...]
    tensors: Mapping[str, Ids]

    def groups(self) -> tuple[ChannelGroup, ...]:
        """Return the groups in the order of their first producers; blocked ones stand alone."""
        return tuple(self._group(members) for members in _connected(self.writers))

    def _group(self, producers: Sequence[Slot]) -> ChannelGroup:
        classes = np.unique(np.concatenate([slot.classes for slot in producers]))
        classes = classes[classes > 0]
        blocked = "" if len(classes) else producers[0].reason
        return ChannelGroup(
            classes,
            tuple(producers),
            tuple(slot for slot in self.readers if np.isin(slot.classes, classes).any()),
            tuple(each for each in self.operands if np.isin(each.classes, classes).any()),
            blocked,
        )


def find_channels(graph: ir.Graph) -> Channels:
    """Walk a graph once and find out which channels can be rescaled, and which only together.

    Every tensor carries a label for each number in it, tried with a batch of two: ops that move
    numbers move the labels, an Add ties those that meet, and what does not commute with scaling
    fixes them. So whatever moves channels is crossed exactly where that is right: concatenation,
    slices, shuffles, even reshapes that mix channels into the batch.

    Args:
        graph: in topological order, constants as initializers, shapes inferred. A constant that
            several layers share blocks them (`graph.unshare_constants` parts them).
    """
    walk = Walk(graph)
    for node in graph:
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None or not rule(walk, node):
            walk.stop(node)
    for value in graph.outputs:
        walk.fix(value, f"'{value.name}' is an output of the network")
    return _numbered(walk)


def _numbered(walk: Walk) -> Channels:
    ties = walk.ties
    written = [ids for _, ids in walk.writers]
    read = [ids for _, ids in walk.readers]
    beside = [ids for _, _, ids in walk.operands]
    carried = {str(v.name): held.ids for v, held in walk.held.items() if held is not None}
    numbered = ties.number([*written, *read, *beside, *carried.values()])
    count = 1 + max((int(classes.max(initial=0)) for classes in numbered), default=0)
    numbers = iter(numbered)
    writers = tuple(Slot(layer, next(numbers), ties.reason(ids)) for layer, ids in walk.writers)
    readers = tuple(Slot(layer, next(numbers), ties.reason(ids)) for layer, ids in walk.readers)
    operands = tuple(Operand(node, index, next(numbers)) for node, index, _ in walk.operands)
    tensors = dict(zip(carried, numbers, strict=True))
    free = {name: classes for name, classes in tensors.items() if classes.any()}
    return Channels(count, writers, readers, operands, free)


def _connected(writers: Iterable[Slot]) -> Iterator[list[Slot]]:
    """Yield the writers that share classes, directly or through others, together."""
    groups: list[tuple[set[int], list[Slot]]] = []
    for slot in writers:
        classes = set(slot.classes[slot.classes > 0].tolist())
        touched = [group for group in groups if group[0] & classes]
        if not touched:
            groups.append((classes, [slot]))
            continue
        first = touched[0]
        first[0].update(classes)
        for other in touched[1:]:
            first[0].update(other[0])
            first[1].extend(other[1])
            groups.remove(other)
        first[1].append(slot)
    yield from (members for _, members in groups)


def scaled(array: NDArray[np.floating], factors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return `array · factors` rounded to float32 once."""
    product: NDArray[np.float32] = (array.astype(np.float64) * factors).astype(np.float32)
    return product
