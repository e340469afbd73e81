"""Masks of pruned weights: which weights are zero for good."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.graph import constant, set_constant
from fewbits.model import Model

Mask = NDArray[np.bool_]


def apply(model: Model) -> Model:
    """Return the model with every masked weight at zero; for a pass that moved some.

    The model given is not changed.
    """
    broken = violations(model)
    if not broken:
        return model
    new = model.copy()
    for name in broken:
        value = new.graph.initializers[name]
        array = constant(value)
        assert array is not None
        set_constant(value, np.where(model.masks[name], array, np.zeros((), array.dtype)))
    return new


def violations(model: Model) -> list[str]:
    """Return the names of the weights that are not zero where their mask says so."""
    return [name for name, mask in model.masks.items() if not _holds(model, name, mask)]


def lost(before: Model, after: Model) -> list[str]:
    """Return the masks that a step dropped or opened though their weights are still there."""
    held = after.graph.initializers
    return [
        name
        for name, mask in before.masks.items()
        if name in held and not _kept(mask, after.masks, name)
    ]


def _holds(model: Model, name: str, mask: Mask) -> bool:
    value = model.graph.initializers.get(name)
    array: NDArray[Any] | None = constant(value)
    if array is None:
        return True
    return array.shape == mask.shape and not array[~mask].any()


def _kept(mask: Mask, masks: Mapping[str, Mask], name: str) -> bool:
    now = masks.get(name)
    if now is None:
        return bool(mask.all())
    return now.shape != mask.shape or not (now & ~mask).any()
