"""Runs a float network from the middle on, again and again, on the same samples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.cost import elements
from fewbits.data import Dataset
from fewbits.graph import constant, show
from fewbits.runtime import Session

Arrays = Mapping[str, NDArray[Any]]
Change = Callable[[ir.Model], ir.Model]

#: bytes of activations kept between the samples' runs.
CACHE_BYTES = 256 << 20


class Relay:
    """A network whose layers are changed one at a time, in graph order.

    What the nodes before a layer compute does not depend on it. It is kept, where it is small
    enough, so that a change costs the nodes behind it only.

    Args:
        network: the float network; it is not changed.
        samples: all go through the network for each change.
        reference: the outputs of the network as it is, batch by batch.
        batch: samples per run.
        threads: threads of the runtime.
        limit: bytes of activations that may be kept.
    """

    def __init__(
        self,
        network: ir.Model,
        samples: Dataset,
        reference: Sequence[Arrays],
        batch: int,
        *,
        threads: int | None,
        limit: int = CACHE_BYTES,
    ) -> None:
        self._source = network
        self._place = 0
        self._rest = network
        self._threads = threads
        self._room = limit // max(len(samples), 1)
        self._nodes = list(network.graph)
        self._cuttable = not any(
            a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for node in self._nodes
            for a in node.attributes.values()
        )
        self._reference = reference
        self._held: list[Arrays] = [dict(each.inputs) for each in samples.batches(batch)]

    def changed(self, layer: str, change: Change) -> list[Arrays]:
        """Return the outputs, batch by batch, with one layer changed; see `stream`."""
        return list(self.stream(layer, change))

    def stream(self, layer: str, change: Change, also: Sequence[str] = ()) -> Iterator[Arrays]:
        """Yield the outputs, batch by batch, with one layer changed.

        Args:
            layer: a node's name; not before the layer of the call before.
            change: gets a copy of the network, from the cut before that layer on, and returns
                what is to run in its place.
            also: further values of that to return.
        """
        self._advance(layer)
        rest = self._rest.clone()
        names = [str(value.name) for value in rest.graph.outputs]
        names += [name for name in also if name not in names]
        network = change(rest)
        show(network.graph, names)
        session = Session(network, threads=self._threads, outputs=names)
        for held, known in zip(self._held, self._reference, strict=True):
            yield {**known, **session.run(held)}

    def values(self, layer: str, name: str) -> Iterator[NDArray[Any]]:
        """Yield a tensor, batch by batch, of the network as it is.

        Args:
            layer: a node's name; not before the layer of the call before.
            name: of a tensor that does not depend on later layers.
        """
        self._advance(layer)
        if name in self._held[0]:
            yield from (held[name] for held in self._held)
            return
        session = Session(self._between(list(self._held[0]), [name]), threads=self._threads)
        yield from (session.run(held)[name] for held in self._held)

    def _advance(self, layer: str) -> None:
        """Move the cut to just before a node, if what crosses it there can be kept."""
        place = next(i for i, node in enumerate(self._nodes) if node.name == layer)
        if place == self._place:
            return
        self._place = place
        crossing = self._crossing(place) if self._cuttable else []
        sizes = [elements(value) * 4 for value in crossing]
        if not crossing or 0 in sizes or sum(sizes) > self._room:
            return
        names = [str(value.name) for value in crossing]
        self._hold(names)
        behind = {output for node in self._nodes[place:] for output in node.outputs}
        ends = [v for v in self._source.graph.outputs if v in behind]
        self._rest = self._between(names, [str(value.name) for value in ends])

    def _hold(self, names: list[str]) -> None:
        """Compute what is to be kept from what is, and let go of the rest."""
        held = list(self._held[0])
        new = [name for name in names if name not in held]
        made: list[Arrays] = [{} for _ in self._held]
        if new:
            session = Session(self._between(held, new), threads=self._threads)
            made = [session.run(each) for each in self._held]
        old = [name for name in names if name in held]
        self._held = [
            {**{name: each[name] for name in old}, **more}
            for each, more in zip(self._held, made, strict=True)
        ]

    def _between(self, starts: list[str], ends: list[str]) -> ir.Model:
        graph = ir.convenience.extract(self._source.graph, starts, ends)
        return ir.Model(graph, ir_version=self._source.ir_version)

    def _crossing(self, place: int) -> list[ir.Value]:
        """Return what the nodes from `place` on read of those before, and of the graph inputs."""
        rest = self._nodes[place:]
        made = {output for node in rest for output in node.outputs}
        read = [value for node in rest for value in node.inputs if value is not None]
        return list(dict.fromkeys(v for v in read if v not in made and constant(v) is None))
