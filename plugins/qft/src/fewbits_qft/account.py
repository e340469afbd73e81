"""What is said of a training: figures, and what became of each layer."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from fewbits.graph import Layer, constant, layers
from fewbits.model import Model
from fewbits.numerics import quantize
from fewbits.provenance import LayerNote, Report

if TYPE_CHECKING:
    from fewbits_qft.trainer import Round

_DIVERGED = "training diverged; try a smaller learning_rate"
_NO_BETTER = "training made the network no better on the samples held out"


def locked(model: Model) -> Report:
    """Return the report of a training in which nothing may move."""
    notes = tuple(LayerNote(name, "kept", "everything is locked") for name in model.precisions)
    return Report(False, "nothing moved: every degree of freedom is locked", notes)


def kept(
    model: Model, rounds: Sequence["Round"], best: "Round", *, diverged: bool = False
) -> Report:
    """Return the report of a training whose result is dropped."""
    why = _DIVERGED if diverged else _NO_BETTER
    notes = tuple(LayerNote(name, "kept", why) for name in model.precisions)
    summary = f"dropped, {why}: {_change(rounds[0], rounds[-1])}"
    return Report(False, summary, notes, _metrics(rounds, best))


def trained(
    model: Model, new: Model, rounds: Sequence["Round"], best: "Round", *, changed: bool
) -> Report:
    """Return the report of a training whose best state is taken.

    Args:
        model: before.
        new: after.
        rounds: all of them, the start first.
        best: the one that was taken.
        changed: whether the new model differs.
    """
    held = {layer.name: layer for layer in layers(model.graph)}
    notes = tuple(_note(model, new, held[name]) for name in model.precisions)
    summary = f"best of {len(rounds) - 1} rounds is {best.number}: {_change(rounds[0], best)}"
    return Report(changed, summary, notes, _metrics(rounds, best))


def _change(first: "Round", last: "Round") -> str:
    was, now = first.judged, last.judged
    return (
        f"held-out loss {was.loss:.4f} → {now.loss:.4f}, SNR {was.snr_db:.1f} → {now.snr_db:.1f} dB"
    )


def _metrics(rounds: Sequence["Round"], best: "Round") -> dict[str, Any]:
    was, now = rounds[0].judged, best.judged
    same = {}
    if was.agreement is not None and now.agreement is not None:
        same = {
            "agreement_before": round(was.agreement, 3),
            "agreement": round(now.agreement, 3),
        }
    return {
        "rounds": len(rounds) - 1,
        "best_round": best.number,
        "snr_db_before": round(was.snr_db, 3),
        "snr_db": round(now.snr_db, 3),
        **same,
        "held_out_loss": [round(each.judged.loss, 6) for each in rounds],
        "training_loss": [round(e.loss, 6) for e in rounds if not math.isnan(e.loss)],
    }


def _note(model: Model, new: Model, layer: Layer) -> LayerNote:
    """Say how far a layer went: its integers, its weight's steps and its output's step."""
    weight, output = str(layer.weight.name), str(layer.output.name)
    was, now = model.encodings[weight], new.encodings[weight]
    before = quantize(_array(model, weight), was)
    moved = float(np.mean(before != quantize(_array(new, weight), now)))
    values: dict[str, Any] = {
        "moved": round(moved, 6),
        "weight_step": round(float(np.mean(now.scale / was.scale)), 6),
    }
    if output in model.encodings:
        ratio = new.encodings[output].scale / model.encodings[output].scale
        values["output_step"] = round(float(ratio), 6)
    if moved == 0.0 and all(value == 1.0 for value in list(values.values())[1:]):
        return LayerNote(layer.name, "kept", "no integer and no step moved", values)
    return LayerNote(layer.name, "trained", values=values)


def _array(model: Model, name: str) -> np.ndarray:
    return np.asarray(constant(model.graph.initializers[name]), np.float32)
