"""What each layer's bits cost at the network's outputs, that layer alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
from fewbits.data import Dataset
from fewbits.graph import Layer
from fewbits.interfaces import Runnable
from fewbits.layermatrix import weight_shape
from fewbits.model import Model
from fewbits.ongrid import put_on_grid
from fewbits.relay import Arrays, Relay
from numpy.typing import NDArray

from fewbits_mixed_precision.measures import (
    Outputs,
    checked_classes,
    cross_entropy,
    noise_ratios,
    scores,
)


@dataclass(frozen=True)
class Sensitivity:
    """What one layer's bits cost, everything else in float.

    Args:
        layer: its name.
        elements: how many weights it has.
        noise: at the outputs, as a share of the signal, `(samples,)`.
        loss: by how much the cross-entropy rises; None without labels.
    """

    layer: str
    elements: int
    noise: NDArray[np.float64]
    loss: float | None = None

    def cost(self, metric: str) -> float:
        """Return the mean noise, or the rise of the loss, which is never taken for negative."""
        if metric == "task" and self.loss is not None:
            return max(self.loss, 0.0)
        return float(self.noise.mean())


@dataclass(frozen=True)
class Judge:
    """Compares outputs on a set of samples with the float network's, and with the labels.

    Args:
        reference: the float network's outputs, batch by batch.
        counts: samples in each batch.
        classes: of all samples, or None.
    """

    reference: Sequence[Arrays]
    counts: Sequence[int]
    classes: NDArray[np.int64] | None = None

    def noise(self, outputs: Sequence[Outputs]) -> NDArray[np.float64]:
        """Return the noise of each sample as a share of the signal, `(samples,)`."""
        triples = zip(self.reference, outputs, self.counts, strict=True)
        return np.concatenate([noise_ratios(a, b, count) for a, b, count in triples])

    def loss(self, outputs: Sequence[Outputs]) -> float | None:
        """Return by how much the cross-entropy is above the float network's; None unlabelled."""
        if self.classes is None:
            return None
        return self._entropy(outputs, self.classes) - self._entropy(self.reference, self.classes)

    def drop(self, outputs: Sequence[Outputs]) -> float | None:
        """Return the points of top-1 below the float network; None unlabelled."""
        if self.classes is None:
            return None
        return 100.0 * (
            self._hits(self.reference, self.classes) - self._hits(outputs, self.classes)
        )

    @staticmethod
    def _entropy(outputs: Sequence[Outputs], classes: NDArray[np.int64]) -> float:
        return cross_entropy(np.concatenate([scores(each) for each in outputs]), classes)

    @staticmethod
    def _hits(outputs: Sequence[Outputs], classes: NDArray[np.int64]) -> float:
        found = np.concatenate([scores(each).argmax(axis=1) for each in outputs])
        return float((found == classes).mean())


def judge(
    reference: Sequence[Arrays], samples: Dataset, size: int, *, offset: int | None = None
) -> Judge:
    """Return what compares outputs on some samples.

    Args:
        reference: the float network's outputs, batch by batch.
        samples: the samples.
        size: samples in a batch.
        offset: added to labels to give classes; None where labels are not wanted.

    Raises:
        DataError: labels are wanted and absent, or fit no output.
    """
    total = len(samples)
    counts = [min(size, total - start) for start in range(0, total, size)]
    classes = None
    if offset is not None:
        classes = checked_classes(samples.labels, offset, scores(reference[0]).shape[1])
    return Judge(reference, counts, classes)


def outputs_of(runnable: Runnable, samples: Dataset, size: int) -> list[Arrays]:
    """Return outputs batch by batch."""
    return [runnable.run(batch.inputs) for batch in samples.batches(size)]


def sensitivities(
    chosen: Iterable[Layer],
    quantized: Model,
    relay: Relay,
    judge: Judge,
    *,
    with_activations: bool = False,
) -> Iterator[Sensitivity]:
    """Yield what each layer costs alone.

    Args:
        chosen: layers of the float network, in graph order.
        quantized: the same network with all of them at the bits in question.
        relay: runs the float network.
        judge: compares outputs.
        with_activations: whether what the layer writes is quantized too, not its weights alone.
    """
    for layer in chosen:
        names = _tensors(layer, with_activations)
        change = partial(put_on_grid, quantized=quantized, names=names)
        outputs = relay.changed(layer.name, change)
        elements = prod(weight_shape(layer))
        yield Sensitivity(layer.name, elements, judge.noise(outputs), judge.loss(outputs))


def _tensors(layer: Layer, activations: bool) -> list[str]:
    """Name what of a layer is quantized: its constants, and what it writes if that is wanted."""
    found = [layer.weight, layer.bias, layer.output if activations else None]
    return [str(value.name) for value in found if value is not None]
