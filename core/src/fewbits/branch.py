"""One branch of a walk: a network run piece by piece, between tensors that are stored."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.runtime import Session
from fewbits.segments import segments
from fewbits.stored import Store, Tensor


class Branch:
    """A network that is run step by step, each node once.

    Args:
        network: the graph; its constants are read when the step that holds them runs.
        wanted: values to be stored, by step; step 0 is fed with the graph inputs.
        store: gives room to what is held.
        sizes: number of samples in each batch.
        threads: threads of the runtime.
    """

    def __init__(
        self,
        network: ir.Model,
        wanted: Sequence[Sequence[ir.Value]],
        store: Store,
        sizes: Sequence[int],
        *,
        threads: int | None,
    ) -> None:
        self._network = network
        self._wanted = wanted
        self._store = store
        self._sizes = sizes
        self._threads = threads
        self._segments = segments(network.graph, wanted)
        self._last = self._last_uses()
        self._held: dict[str, Tensor] = {}
        self._first: Session | None = None

    def feed(self, index: int, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Run step 0 on a batch of the graph's inputs."""
        first = self._segments[0]
        for value in first.passes:
            self._keep(str(value.name), index, inputs[str(value.name)])
        if not first.writes:
            return
        self._first = self._first or self._session(0)
        for name, array in self._first.run(_those(first.reads, inputs)).items():
            self._keep(name, index, array)

    def advance(self, step: int) -> None:
        """Run a step on all batches, and let go of what no later step reads."""
        self._first = None
        self._let_go(step - 1)
        if self._segments[step].writes:
            for index, seen in enumerate(self._run(step)):
                for name, array in seen.items():
                    self._keep(name, index, array)
        self._let_go(step, but=self._wanted[step])

    def outputs(self, step: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield what a step computes, batch by batch, without storing it."""
        names = [str(v.name) for v in self._wanted[step]]
        made = self._run(step) if self._segments[step].writes else ({} for _ in self._sizes)
        for index, seen in enumerate(made):
            held = {n: self._held[n].get(index) for n in names if n in self._held}
            yield {name: {**held, **seen}[name] for name in names}

    def stored(self, value: ir.Value) -> Tensor:
        """Return a value that the present step wanted."""
        return self._held[str(value.name)]

    def at_hand(self, value: ir.Value) -> Tensor | None:
        """Return a value if it is stored at present, because a later step reads it or this one."""
        return self._held.get(str(value.name))

    def close(self) -> None:
        """Let go of everything."""
        self._let_go(len(self._segments))

    def _run(self, step: int) -> Iterator[dict[str, NDArray[Any]]]:
        session, reads = self._session(step), self._segments[step].reads
        for index in range(len(self._sizes)):
            held = {str(v.name): self._held[str(v.name)].get(index) for v in reads}
            yield session.run(held)

    def _session(self, step: int) -> Session:
        return Session(self._segments[step].network(self._network), threads=self._threads)

    def _keep(self, name: str, index: int, array: NDArray[Any]) -> None:
        if name not in self._held:
            self._held[name] = Tensor(name, self._store, self._sizes)
        self._held[name].put(index, array)

    def _let_go(self, step: int, but: Sequence[ir.Value] = ()) -> None:
        kept = {str(v.name) for v in but}
        for name in [n for n in self._held if self._last[n] <= step and n not in kept]:
            self._held.pop(name).free()

    def _last_uses(self) -> dict[str, int]:
        """Return value name → the last step that reads or wants it."""
        found: dict[str, int] = {}
        for step, (segment, values) in enumerate(zip(self._segments, self._wanted, strict=True)):
            found |= {str(v.name): step for v in (*segment.reads, *values)}
        return found


def _those(
    values: Sequence[ir.Value], inputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    return {str(v.name): inputs[str(v.name)] for v in values}
