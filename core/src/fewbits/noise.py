"""Where quantization noise arises: signal-to-noise ratio per layer, everything quantized."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.data import Batch, Dataset
from fewbits.emulate import to_qdq
from fewbits.errors import ModelError
from fewbits.graph import layers, values_by_name
from fewbits.interfaces import Progress, silent
from fewbits.metrics import SNR_LIMIT_DB
from fewbits.model import Model, Stage
from fewbits.numerics import dequantize
from fewbits.runtime import Session


@dataclass(frozen=True)
class LayerNoise:
    """How far a quantized layer's output is from the float layer's.

    Args:
        layer: the layer's name.
        op_type: Conv, Gemm, …
        precision: its precision mode as text.
        snr_db: `10 · log10(Σ float² / Σ (float − quantized)²)` over all samples, in dB.
    """

    layer: str
    op_type: str
    precision: str
    snr_db: float


def layer_snr(
    model: Model,
    dataset: Dataset,
    *,
    batch_size: int = 4,
    threads: int | None = None,
    progress: Progress = silent,
) -> list[LayerNoise]:
    """Measure each layer's output against the float model's, all layers quantized at once.

    Args:
        model: at stage `quantized`, with the float model it came from among its ancestors.
        dataset: samples; labels are not used.
        batch_size: samples per run.
        threads: threads of the runtime.
        progress: told after each batch.

    Returns:
        One entry per quantized layer, in graph order.

    Raises:
        ModelError: the model is not quantized.
    """
    reference = _reference(model)
    watched = {
        str(layer.output.name): layer
        for layer in layers(model.graph)
        if layer.name in model.precisions
    }
    batches = _tracked(dataset, batch_size, progress)
    signal, noise = _powers(model, reference, list(watched), batches, threads)
    return [
        LayerNoise(
            layer.name,
            layer.op_type,
            str(model.precisions[layer.name]),
            _decibels(signal[name], noise[name]),
        )
        for name, layer in watched.items()
    ]


def _reference(model: Model) -> Model:
    """Return the float model that a quantized one came from."""
    if model.stage.rank < Stage.QUANTIZED.rank:
        raise ModelError(
            f"{model.name} is {model.stage}; noise can be measured on a quantized model only.",
            hint="Run `fewbits optimize` first.",
        )
    return model.at(Stage.OPTIMIZED)


def _powers(
    model: Model,
    reference: Model,
    watched: Sequence[str],
    batches: Iterable[Batch],
    threads: int | None,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the sums of squares of tensors in float, and of how far quantized ones are off."""
    names = {n: f"{n}.quantized" if n in model.encodings else n for n in watched}
    float_side = _tapped(reference.network.clone(), {name: name for name in watched}, threads)
    quantized_side = _tapped(to_qdq(model), names, threads)
    signal, noise = dict.fromkeys(watched, 0.0), dict.fromkeys(watched, 0.0)
    for batch in batches:
        truth = float_side.run(batch.inputs)
        seen = quantized_side.run(batch.inputs)
        for name, value in _real(model, names, seen):
            signal[name] += float(np.square(truth[name], dtype=np.float64).sum())
            noise[name] += float(np.square(truth[name] - value, dtype=np.float64).sum())
    return signal, noise


def _tracked(dataset: Dataset, batch_size: int, progress: Progress) -> Iterator[Batch]:
    """Yield the batches and tell the progress after each."""
    done = 0
    progress("noise", 0, len(dataset), "images")
    for batch in dataset.batches(batch_size):
        yield batch
        done += len(batch)
        progress("noise", done, len(dataset), "images")


def _tapped(network: ir.Model, names: Mapping[str, str], threads: int | None) -> Session:
    """Return a session whose outputs are the values called `names`."""
    values = values_by_name(network.graph)
    wanted = [values[name] for name in names.values()]
    network.graph.outputs.extend(v for v in wanted if not v.is_graph_output())
    return Session(network, threads=threads, outputs=[str(v.name) for v in wanted])


def _real(
    model: Model, names: Mapping[str, str], seen: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield each tensor's real values; integers are dequantized."""
    for name, output in names.items():
        encoding = model.encodings.get(name)
        yield name, seen[output] if encoding is None else dequantize(seen[output], encoding)


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return SNR_LIMIT_DB
    if signal == 0.0:
        return -SNR_LIMIT_DB
    return float(np.clip(10.0 * np.log10(signal / noise), -SNR_LIMIT_DB, SNR_LIMIT_DB))
