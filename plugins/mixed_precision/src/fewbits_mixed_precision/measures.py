"""How far outputs are from the float network's, and from the labels; arrays in, arrays out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from fewbits.errors import DataError
from fewbits.metrics import SNR_LIMIT_DB
from numpy.typing import NDArray

_LEAST = 10.0 ** (-SNR_LIMIT_DB / 10.0)

Outputs = Mapping[str, NDArray[Any]]


def noise_ratios(reference: Outputs, outputs: Outputs, count: int) -> NDArray[np.float64]:
    """Return each sample's noise, as a share of the signal, averaged over the outputs.

    `Σ (ref − y)² / Σ ref²` for each output that holds real numbers.

    Args:
        reference: name → what the float network gives.
        outputs: name → what is compared with it, the same shapes.
        count: number of samples.

    Returns:
        float64, `(count,)`.

    >>> noise_ratios({"y": np.array([[3.0, 4.0]])}, {"y": np.array([[3.0, 3.0]])}, 1)
    array([0.04])
    """
    ratios = []
    for name, values in reference.items():
        if values.dtype.kind != "f":
            continue
        wide = values.reshape(count, -1).astype(np.float64)
        noise = np.square(wide - outputs[name].reshape(count, -1)).sum(axis=1)
        ratios.append(noise / np.maximum(np.square(wide).sum(axis=1), np.finfo(np.float32).tiny))
    return np.asarray(np.mean(ratios, axis=0)) if ratios else np.zeros(count)


def decibels(ratios: NDArray[np.float64]) -> float:
    """Return the mean over samples of the SNR in dB, given noise as a share of the signal.

    >>> decibels(np.array([0.01, 0.1]))
    15.0
    """
    return float(np.mean(-10.0 * np.log10(np.clip(ratios, _LEAST, 1.0 / _LEAST))))


def scores(outputs: Outputs) -> NDArray[np.float64]:
    """Return the one output that holds a score for each class, `(samples, classes)`.

    Raises:
        DataError: there is none, or more than one.
    """
    found = [a for a in outputs.values() if [size > 1 for size in a.shape[1:]].count(True) == 1]
    if len(found) != 1 or len(outputs) != 1:
        raise DataError(
            f"Labels are for networks with one score a class; this one has {len(outputs)} outputs"
            f" of shapes {', '.join(str(a.shape) for a in outputs.values())}.",
            hint="Use metric=snr and min_snr, which need no labels.",
        )
    return np.asarray(found[0].reshape(len(found[0]), -1), np.float64)


def cross_entropy(outputs: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """Return the mean of `−log p[class]`.

    Args:
        outputs: `(samples, classes)`, logits, or probabilities if each row is one.
        classes: `(samples,)`.

    >>> round(cross_entropy(np.zeros((1, 4)), np.array([2])), 4)  # log 4
    1.3863
    """
    own = outputs[np.arange(len(outputs)), classes]
    if (outputs >= 0.0).all() and np.allclose(outputs.sum(axis=1), 1.0, atol=1e-3):
        return float(-np.log(np.maximum(own, 1e-12)).mean())
    peak = outputs.max(axis=1)
    return float((peak + np.log(np.exp(outputs - peak[:, None]).sum(axis=1)) - own).mean())


def checked_classes(
    labels: NDArray[np.int64] | None, offset: int, classes: int
) -> NDArray[np.int64]:
    """Return labels as classes.

    Raises:
        DataError: there are none, or one is no class.
    """
    if labels is None:
        raise DataError(
            "The calibration data has no labels, which metric=task and max_drop need.",
            hint="Give labelled data, or use metric=snr and min_snr.",
        )
    wanted = labels + offset
    outside = wanted[(wanted < 0) | (wanted >= classes)]
    if len(outside):
        raise DataError(
            f"Class {outside[0]} is not one of the network's {classes}, 0 to {classes - 1}.",
            hint="Set label_offset to what must be added to a label to give its class.",
        )
    return np.asarray(wanted)
