"""The report of equalization."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fewbits.channels import ChannelGroup
from fewbits.provenance import LayerNote, Report

from fewbits_equalization.factors import Vector

IDLE = "weights are taken to have a scale for each output channel; 8 bits gain nothing then"
REMEDY = "for one scale per tensor, say weights=per_tensor"


@dataclass(frozen=True)
class Done:
    """What was done to a network.

    Args:
        groups: all of its groups of channels.
        factors: of all classes, `(count,)`.
        absorbed: layer → number of channels whose bias moved on.
        relus: name of each Clip that became a Relu → the largest value seen.
        idle: whether no factors were sought, weights having fine scales of their own.
    """

    groups: tuple[ChannelGroup, ...]
    factors: Vector
    absorbed: Mapping[str, int]
    relus: Mapping[str, float]
    idle: bool = False


def account(done: Done) -> Report:
    """Return the report: every layer with its factors, or why it was left alone."""
    nothing = IDLE if done.idle else "no factors promise a gain"
    notes = [note for group in done.groups for note in _notes(group, done.factors, nothing)]
    notes += [LayerNote(n, "bias absorbed", "", {"channels": k}) for n, k in done.absorbed.items()]
    reason = "its bound is not met on the calibration data"
    notes += [LayerNote(n, "relu", reason, {"largest": top}) for n, top in done.relus.items()]
    layers = sum(len(group.producers) for group in done.groups)
    rescaled = sum(note.action == "equalized" for note in notes)
    return Report(
        changed=bool((done.factors != 1.0).any() or done.absorbed or done.relus),
        summary=f"Rescaled the channels of {rescaled} of {layers} layers"
        + (f": {IDLE} ({REMEDY})." if done.idle else "."),
        layers=tuple(notes),
        metrics={"layers": rescaled, "channels": int((done.factors != 1.0).sum())},
    )


def _notes(group: ChannelGroup, factors: Vector, nothing: str) -> Iterator[LayerNote]:
    for slot in group.producers:
        found = factors[slot.classes]
        if group.blocked or not group.consumers or bool((found == 1.0).all()):
            reason = group.blocked or nothing
            yield LayerNote(slot.layer.name, "skipped", reason)
            continue
        values = {"smallest": float(found.min()), "largest": float(found.max())}
        yield LayerNote(slot.layer.name, "equalized", slot.reason, values)
