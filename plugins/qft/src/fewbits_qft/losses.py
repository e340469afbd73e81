"""How far tensors are from what they should be."""

from collections.abc import Mapping

import torch
from torch import Tensor

TINY = 1e-12


def l2rel(found: Tensor, truth: Tensor) -> Tensor:
    """Return `‖found − truth‖² / ‖truth‖²` over all samples together.

    Finkelstein et al. 2022 (QFT), section 3: scales cancel, so that tensors can be added up.

    >>> float(l2rel(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])))
    1.25
    """
    return (found - truth).square().sum() / truth.square().sum().clamp_min(TINY)


def l2(found: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of `(found − truth)²`."""
    return (found - truth).square().mean()


def cosine(found: Tensor, truth: Tensor) -> Tensor:
    """Return one minus the mean cosine of the angle between each sample's two tensors."""
    pair = (found.flatten(1), truth.flatten(1))
    return 1.0 - torch.nn.functional.cosine_similarity(*pair).mean()


LOSSES = {"l2rel": l2rel, "l2": l2, "cosine": cosine}


def total(
    kind: str,
    found: Mapping[str, Tensor],
    truth: Mapping[str, Tensor],
    factors: Mapping[str, float],
) -> Tensor:
    """Return the sum of the losses of all tensors, each times its factor.

    Args:
        kind: `l2rel`, `l2` or `cosine`.
        found: tensor name → what the quantized network computes, batch first.
        truth: the same of the float network.
        factors: tensor name → factor.
    """
    parts = [factor * LOSSES[kind](found[n], truth[n]) for n, factor in factors.items()]
    return torch.stack(parts).sum()
