"""Layer-by-layer co-execution of a quantized model and the float model it came from.

    with Walk(model, dataset) as walk:
        for visit in walk:
            visit.layer, visit.weight, visit.bias         # of the quantized model, as they stand
            visit.float_layer, visit.float_weight, visit.float_bias
            for q in visit.source.batches():              # integers, upstream already changed
                x = visit.source.real(q)
                y = visit.forward(q)                      # the quantized layer's output, real
            for x in visit.float_source.batches():        # the float model's own activations
                y = visit.float_forward(x)                # the float layer's, behind its activation
            q = visit.source.rows([3, 1, 2])              # any samples, in any order
            visit.replace(weight=…, bias=…, encoding=…)   # what is not given stays
        changed = walk.model

Every node of either branch runs once: the network is cut at the layers' inputs, each piece is a
small ONNX Runtime session, and layers later in the graph see what was replaced before them. The
quantized branch runs the very QDQ form that the `cpu` target compiles, so that it agrees with the
emulator bit for bit. A tensor is held only until the last piece that reads it has run; what exceeds
`memory` bytes lies in temporary files, which are gone when the `with` block is left, by an error
too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.addend import Addend, added_behind
from fewbits.branch import Branch
from fewbits.data import Dataset, input_specs_of
from fewbits.errors import DataError, ModelError
from fewbits.graph import Layer, layers
from fewbits.model import Model, Stage
from fewbits.stored import Activations, Store
from fewbits.visit import Visit
from fewbits.workpiece import Workpiece

__all__ = ["MEMORY", "Visit", "Walk"]

#: bytes of activations held in memory.
MEMORY = 2 << 30


class Walk:
    """One pass over the layers of a quantized model, in graph order.

    Args:
        model: at stage `quantized`; it is not changed.
        dataset: samples; labels are not used.
        reference: whether the float model runs along; without it no visit has a `float_source`.
        outputs: whether `outputs` will be asked for.
        biases: give each Conv, ConvTranspose and Gemm without a bias one of zeros.
        batch_size: samples per run; a network with a fixed batch gets a multiple of it.
        threads: threads of the runtime; None lets it choose.
        memory: bytes of activations held in memory; the rest lies in files.
        folder: where the temporary folder is made; the system's by default.

    Attributes:
        names: the layers that are visited, those with a precision mode and a computed input.
        store: counts `held`, `peak` and `spilled` bytes.

    Raises:
        ModelError: the model is not quantized, or lacks the float layers that it came from.
        DataError: the dataset is empty; while walking, there is no room for the activations.
    """

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        *,
        reference: bool = True,
        outputs: bool = False,
        biases: bool = False,
        batch_size: int = 4,
        threads: int | None = None,
        memory: int = MEMORY,
        folder: Path | None = None,
    ) -> None:
        if not len(dataset):
            raise DataError("The data is empty.", hint="Give at least one sample.")
        self._dataset = dataset
        self._threads = threads
        self._batch = _batch_size(model, batch_size)
        self._piece = Workpiece(model, biases=biases)
        self._origin = model.at(Stage.OPTIMIZED)
        self._float_layers = {layer.name: layer for layer in layers(self._origin.graph)}
        self.names = tuple(self._piece.layers)
        self.store = Store(memory, folder)
        self._quantized = self._branch(self._piece.network, self._wanted(outputs=outputs))
        self._float = None
        if reference:
            inputs = [[self._float_layer(name).input] for name in self.names]
            self._float = self._branch(self._origin.network, [[], *inputs])

    def __enter__(self) -> "Walk":
        return self

    def __exit__(self, *error: object) -> None:
        self._quantized.close()
        if self._float is not None:
            self._float.close()
        self.store.close()

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.names)

    def layer(self, name: str) -> Layer:
        """Return one of the layers that are visited."""
        return self._piece.layers[name]

    @property
    def model(self) -> Model:
        """The model with what was replaced so far; the one given if nothing was."""
        return self._piece.model

    def __iter__(self) -> Iterator[Visit]:
        """Yield each layer's visit; what it replaces holds for the visits behind it."""
        branches = [self._quantized] + ([] if self._float is None else [self._float])
        for index, batch in enumerate(self._dataset.batches(self._batch)):
            for branch in branches:
                branch.feed(index, batch.inputs)
        for step, name in enumerate(self.names, 1):
            for branch in branches:
                branch.advance(step)
            yield replace(self._visit(name), addend=self._addend(name))

    def outputs(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the quantized model's outputs, batch by batch, once all layers were visited."""
        for seen in self._quantized.outputs(len(self.names) + 1):
            yield {name: seen[name] for name in self._piece.model.output_names}

    def _wanted(self, *, outputs: bool) -> list[list[ir.Value]]:
        piece = self._piece
        steps = [[piece.running(layer.input)] for layer in piece.layers.values()]
        last = [list(piece.network.graph.outputs)] if outputs else []
        return [piece.entries(), *steps, *last]

    def _branch(self, network: ir.Model, wanted: Sequence[Sequence[ir.Value]]) -> Branch:
        total = len(self._dataset)
        sizes = [min(self._batch, total - start) for start in range(0, total, self._batch)]
        return Branch(network, wanted, self.store, sizes, threads=self._threads)

    def _visit(self, name: str) -> Visit:
        layer, float_layer = self._piece.layers[name], self._float_layer(name)
        stored = self._quantized.stored(self._piece.running(layer.input))
        float_source = None
        if self._float is not None:
            float_source = Activations(self._float.stored(float_layer.input), None)
        encoding = self._piece.encodings.get(str(layer.input.name))
        source = Activations(stored, encoding)
        return Visit(
            layer, float_layer, source, float_source, self._piece, self._origin, self._threads
        )

    def _addend(self, name: str) -> Addend | None:
        """Return what is added to a layer's output in either branch, if both hold it by now."""
        float_layer = self._float_layer(name)
        value = added_behind(float_layer)
        twin = None if value is None else self._piece.twin(str(value.name))
        if self._float is None or value is None or twin is None:
            return None
        real, stored = self._float.at_hand(value), self._quantized.at_hand(twin)
        if real is None or stored is None:
            return None
        encoding = self._piece.encodings.get(str(value.name))
        return Addend(Activations(real, None), Activations(stored, encoding))

    def _float_layer(self, name: str) -> Layer:
        if name not in self._float_layers:
            raise ModelError(
                f"The float model has no layer '{name}', which the quantized one has.",
                hint="Quantize the model again.",
            )
        return self._float_layers[name]


def _batch_size(model: Model, wanted: int) -> int:
    """Return the batch, a multiple of the network's own where that is fixed."""
    fixed = input_specs_of(model)[0].shape[0]
    return wanted if fixed is None else fixed * max(wanted // fixed, 1)
