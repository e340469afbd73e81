"""What the evaluators compute, as functions of arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: SNR is reported within ± this many dB: float32 itself carries about 150, and infinity is no JSON.
SNR_LIMIT_DB = 140.0


def snr_db(reference: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """Signal-to-noise ratio of each sample, `10 · log10(Σ ref² / Σ (ref − values)²)`, in dB.

    Args:
        reference: `(samples, n)`, what the values should be.
        values: `(samples, n)`.

    Returns:
        float64 `(samples,)`, limited to ±`SNR_LIMIT_DB`: identical samples give the upper limit,
        noise without any signal the lower one.

    >>> snr_db(np.array([[3.0, 4.0], [1.0, 1.0]]), np.array([[3.0, 3.5], [1.0, 1.0]]))
    array([ 20., 140.])
    """
    reference, values = reference.astype(np.float64), values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        signal = np.square(reference).sum(axis=1)
        noise = np.square(reference - values).sum(axis=1)
        ratio = 10 * np.log10(signal / noise)
    exact = (noise == 0) & (signal == 0)
    return np.clip(np.where(exact, SNR_LIMIT_DB, ratio), -SNR_LIMIT_DB, SNR_LIMIT_DB)


def decibels(signal: float, noise: float) -> float:
    """Return `10 · log10(signal / noise)`, limited to ±`SNR_LIMIT_DB`; no noise gives the limit.

    >>> decibels(100.0, 1.0), decibels(0.0, 0.0), decibels(0.0, 1.0)
    (20.0, 140.0, -140.0)
    """
    if noise == 0.0:
        return SNR_LIMIT_DB
    if signal == 0.0:
        return -SNR_LIMIT_DB
    return float(np.clip(10.0 * np.log10(signal / noise), -SNR_LIMIT_DB, SNR_LIMIT_DB))


def cosine(reference: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """Cosine of the angle between each sample and its reference.

    Args:
        reference: `(samples, n)`.
        values: `(samples, n)`.

    Returns:
        float64 `(samples,)`; 1 where both are zero, 0 where only one is.

    >>> cosine(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])).round(4)
    array([0.7071, 1.    ])
    """
    reference, values = reference.astype(np.float64), values.astype(np.float64)
    both_zero = ~reference.any(axis=1) & ~values.any(axis=1)
    with np.errstate(invalid="ignore"):
        lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(values, axis=1)
        dots = (reference * values).sum(axis=1)
        angles = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths != 0)
    return np.where(both_zero, 1.0, angles)


def label_ranks(scores: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many classes come before the label's: 0 where it has the highest score.

    Of equal scores the lower class comes first, as with `argmax`. A sample with NaN among its
    scores ranks last.

    Args:
        scores: `(samples, classes)`.
        labels: `(samples,)`, within the classes.

    >>> label_ranks(np.array([[0.1, 0.9, 0.9], [0.1, 0.9, 0.9]]), np.array([1, 2]))
    array([0, 1])
    """
    own = scores[np.arange(len(scores)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    ranks = ((scores > own) | ((scores == own) & earlier)).sum(axis=1, dtype=np.int64)
    ranks[np.isnan(scores).any(axis=1)] = scores.shape[1]
    return np.asarray(ranks, np.int64)
