"""Where quantization noise arises: signal-to-noise ratio per layer, everything quantized."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fewbits.data import Batch, Dataset
from fewbits.emulate import to_qdq
from fewbits.errors import ModelError, TargetError
from fewbits.graph import layers, show
from fewbits.interfaces import Progress, Runnable, silent
from fewbits.model import Model, Stage
from fewbits.powers import Powers, powers
from fewbits.runtime import Session

#: batch, the float model's tensors by name, the quantized model's.
Pair = tuple[Batch, Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]]


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
    reference = float_origin(model)
    watched = {
        str(layer.output.name): layer
        for layer in layers(model.graph)
        if layer.name in model.precisions
    }
    emulator = Session(to_qdq(shown(model, watched)), threads=threads)
    batches = tracked(dataset, batch_size, progress)
    total = dict.fromkeys(watched, Powers())
    for _, truth, seen in pairs(reference, emulator, list(watched), batches, threads):
        for name in watched:
            total[name] += powers(truth[name], seen[name])
    return [
        LayerNoise(layer.name, layer.op_type, str(model.precisions[layer.name]), total[name].snr_db)
        for name, layer in watched.items()
    ]


def float_origin(model: Model) -> Model:
    """Return the float model that a quantized one came from.

    Raises:
        ModelError: the model is not quantized.
    """
    if model.stage.rank < Stage.QUANTIZED.rank:
        raise ModelError(
            f"{model.name} is {model.stage}; noise can be measured on a quantized model only.",
            hint="Run `fewbits optimize` first.",
        )
    return model.at(Stage.OPTIMIZED)


def shown(model: Model, names: Iterable[str]) -> Model:
    """Return a model that has these tensors, too, among its outputs."""
    network = model.network.clone()
    show(network.graph, names)
    return model.replace(network=network)


def pairs(
    reference: Model,
    emulator: Runnable,
    names: Sequence[str],
    batches: Iterable[Batch],
    threads: int | None,
) -> Iterator[Pair]:
    """Yield each batch with the tensors that either model computes from it.

    Args:
        reference: the float model.
        emulator: runs the quantized model, `shown` with these tensors.
        names: tensors, those of the graph's outputs that are wanted among them.
        batches: the samples.
        threads: threads of the runtime, for the float model.

    Raises:
        TargetError: the emulator does not return one of them.
    """
    network = shown(reference, names).network
    session = Session(network, threads=threads, outputs=list(names))
    for batch in batches:
        seen = emulator.run(batch.inputs)
        missing = [name for name in names if name not in seen]
        if missing:
            raise TargetError(
                f"The target's emulator does not return tensor '{missing[0]}', though it is an"
                " output of the model that it was given.",
                hint="A target's emulator must return every output of the graph; tell its author.",
            )
        yield batch, session.run(batch.inputs), seen


def tracked(dataset: Dataset, batch_size: int, progress: Progress) -> Iterator[Batch]:
    """Yield the batches and tell the progress after each."""
    done = 0
    progress("noise", 0, len(dataset), "images")
    for batch in dataset.batches(batch_size):
        yield batch
        done += len(batch)
        progress("noise", done, len(dataset), "images")
