"""What becomes of layers that are pruned: put into the model, and accounted for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from fewbits.graph import Layer, constant, ensure_bias, layers, set_constant, unshare_constants
from fewbits.model import Model
from fewbits.provenance import LayerNote, Report
from numpy.typing import NDArray


@dataclass(frozen=True)
class Edit:
    """What one layer becomes.

    Args:
        weight: in the layer's own layout and type.
        mask: which of the weight may be other than zero.
        bias: the new one; None where it stays.
        values: the account of it.
    """

    weight: NDArray[Any]
    mask: NDArray[np.bool_]
    bias: NDArray[np.float64] | None
    values: Mapping[str, Any]


def with_own_constants(model: Model) -> Model:
    """Return a copy in which every layer has a weight and a bias of its own."""
    new = model.copy()
    copies = unshare_constants(new.graph)
    masks = {copy: model.masks[name] for copy, name in copies.items() if name in model.masks}
    return new.replace(masks={**model.masks, **masks})


def edited(source: Model, edits: Mapping[str, Edit]) -> tuple[Model, bool]:
    """Return a copy with new weights, biases and masks, and whether any of them differ."""
    new, masks, changed = source.copy(), dict(source.masks), False
    for layer in list(layers(new.graph)):
        edit = edits.get(layer.name)
        name = str(layer.weight.name)
        if edit is None or (edit.mask.all() and name not in masks):
            continue
        changed |= name not in masks or not np.array_equal(masks[name], edit.mask)
        changed |= not np.array_equal(array(layer), edit.weight)
        masks[name] = edit.mask
        set_constant(layer.weight, edit.weight)
        if edit.bias is not None:
            _set_bias(new, layer, edit.bias)
    return new.replace(masks=masks), changed


def _set_bias(model: Model, layer: Layer, bias: NDArray[np.float64]) -> None:
    ensure_bias(model.graph, layer.node, layer.out_channels)
    value = layer.node.inputs[2]
    held = constant(value)
    assert value is not None
    assert held is not None
    set_constant(value, bias.astype(held.dtype))


def array(layer: Layer) -> NDArray[Any]:
    """Return a layer's weight."""
    weight = constant(layer.weight)
    assert weight is not None
    return weight


def report(
    model: Model,
    method: str,
    reasons: Mapping[str, str],
    edits: Mapping[str, Edit],
    *,
    changed: bool,
) -> Report:
    """Return the account of what was pruned, layer by layer.

    Args:
        model: the network, in its order of layers.
        method: how it was pruned.
        reasons: layer name → why it was left alone.
        edits: layer name → what it became.
        changed: whether any of it differs from what was there.
    """
    notes = tuple(_note(layer.name, reasons, edits, changed) for layer in layers(model.graph))
    total = sum(array(layer).size for layer in layers(model.graph))
    gone = sum(int((~edit.mask).sum()) for edit in edits.values())
    inside = sum(edit.mask.size for edit in edits.values())
    metrics = {
        "layers": len(edits),
        "pruned": gone,
        "sparsity": gone / max(inside, 1),
        "sparsity_of_all": gone / max(total, 1),
    }
    snrs = [edit.values["snr_db"] for edit in edits.values() if "snr_db" in edit.values]
    worst = f"; worst layer output SNR {min(snrs):.1f} dB" if snrs else ""
    summary = (
        f"{metrics['sparsity']:.1%} of the weights of {len(edits)} layers pruned by {method} "
        f"({metrics['sparsity_of_all']:.1%} of all){worst}"
    )
    return Report(changed=changed, summary=summary, layers=notes, metrics=metrics)


def _note(
    name: str, reasons: Mapping[str, str], edits: Mapping[str, Edit], changed: bool
) -> LayerNote:
    edit = edits.get(name)
    if edit is None:
        return LayerNote(name, "left alone", reasons[name])
    if edit.mask.all() or not changed:
        return LayerNote(name, "left alone", "nothing to prune", edit.values)
    return LayerNote(name, "pruned", values=edit.values)
