"""The algorithm `equalization`: finds the channels, chooses their factors, applies them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from fewbits.calibration import TensorStatistics, collect
from fewbits.channels import ChannelGroup, Channels, find_channels
from fewbits.graph import unshare_constants
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.options import Options
from fewbits.provenance import LayerNote, Report
from pydantic import Field

from fewbits_equalization.absorb import absorb, absorbing
from fewbits_equalization.apply import rescale
from fewbits_equalization.factors import Vector
from fewbits_equalization.search import cross_layer, in_one_pass
from fewbits_equalization.sweep import by_noise

SAME = 1e-12  # what arithmetic leaves of a factor of 1


class EqualizationOptions(Options):
    """Options of `equalization`."""

    mode: Literal["noise", "cle", "one_step", "two_step"] = Field(
        "noise",
        description="noise minimises the rounding noise to expect from weights and activations; "
        "one_step and two_step let both grow as far as they may; cle makes weights even.",
    )
    cap: float = Field(
        16.0, ge=1.0, description="Largest factor of a channel in one_step and two_step."
    )
    clip: Literal["shared", "exact", "off"] = Field(
        "shared",
        description="ReLU6 and other clips: keep factors to those with which the encoding of the "
        "tensor implies every bound (fast), take any factor and give each channel a bound of its "
        "own, or rescale nothing behind a clip. All compute what the network did.",
    )
    samples: int = Field(
        128,
        ge=1,
        description="Calibration samples to look at, evenly spread over all that there are.",
    )
    absorb_bias: bool = Field(
        False,
        description="Move what a channel never falls below on the calibration data from a ReLU's "
        "bias into the next layer's; other data may fall below it, and then the output changes.",
    )


class Equalization(Algorithm):
    """Rescales channels so that one scale fits them all; the network computes what it did."""

    name = "equalization"
    stage = Stage.OPTIMIZED
    Options = EqualizationOptions
    needs_calibration = True
    float_tolerance = 1e-5

    def apply(self, model: Model, context: Context) -> Result:
        """Return the rescaled model; the report names every layer with its factors.

        Raises:
            DataError: there is no calibration data.
        """
        context.need_calibration(self.name)
        new = model.copy()
        copies = unshare_constants(new.graph)
        channels = find_channels(new.graph)
        groups = tuple(map(self._allowed, channels.groups()))
        factors = self._factors(new, channels, groups, context)
        factors[np.abs(factors - 1.0) < SAME] = 1.0
        rescale(new.graph, channels, factors)
        absorbed = {}
        if self.options.absorb_bias:
            absorbed = absorb(new.graph, _lows(new, context))
        masks = {copy: new.masks[name] for copy, name in copies.items() if name in new.masks}
        changed = bool((factors != 1.0).any() or absorbed)
        if not changed:
            return Result(model.advance(self.stage), _report(groups, factors, absorbed))
        out = model.advance(self.stage, network=new.network, masks={**new.masks, **masks})
        return Result(out, _report(groups, factors, absorbed))

    def _allowed(self, group: ChannelGroup) -> ChannelGroup:
        """Return the group, blocked if it lies before a clip that is not to be crossed."""
        clips = [operand.node.name for operand in group.operands if operand.is_clip]
        if self.options.clip != "off" or not clips:
            return group
        reason = f"Clip '{clips[0]}' is not crossed (clip=off)"
        return replace(group, classes=group.classes[:0], blocked=reason)

    def _factors(
        self,
        model: Model,
        channels: Channels,
        groups: tuple[ChannelGroup, ...],
        context: Context,
    ) -> Vector:
        statistics = _statistics(model, channels, _fewer(context, self.options.samples))
        shared = self.options.clip == "shared"
        if self.options.mode == "noise":
            return by_noise(channels, groups, statistics, shared=shared)
        if self.options.mode == "cle":
            return cross_layer(channels, groups, statistics, shared=shared)
        return in_one_pass(
            channels,
            groups,
            statistics,
            cap=self.options.cap,
            weighted=self.options.mode == "two_step",
            shared=shared,
        )


def _statistics(
    model: Model, channels: Channels, context: Context
) -> Mapping[str, TensorStatistics]:
    """Watch what layers write, behind their activations, and what an Add makes of it."""
    outputs = {str(slot.layer.output.name) for slot in channels.writers}
    outputs |= {str(n.outputs[0].name) for n in model.graph if n.op_type in ("Add", "Sub")}
    names = [name for name in channels.tensors if name in outputs]
    names = [n for n in names if channels.tensors[n].ndim > 1 and _on_axis_1(channels.tensors[n])]
    return collect(model, names, context, magnitudes=names)


def _fewer(context: Context, count: int) -> Context:
    data = context.need_calibration(Equalization.name)
    if len(data) <= count:
        return context
    rows = np.arange(count) * len(data) // count
    return replace(context, calibration=data.select(rows))


def _on_axis_1(classes: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> bool:
    return classes.size == classes.shape[1]


def _lows(model: Model, context: Context) -> dict[str, Vector]:
    """Return the smallest value in each channel before its layer's ReLU, by layer."""
    named = {layer.name: str(layer.node.outputs[0].name) for layer in absorbing(model.graph)}
    found = collect(model, named.values(), context, channels=set(named.values()))
    lows = {name: found[output].channel_low for name, output in named.items()}
    return {name: np.asarray(low, np.float64) for name, low in lows.items() if low is not None}


def _report(
    groups: tuple[ChannelGroup, ...], factors: Vector, absorbed: Mapping[str, int]
) -> Report:
    changed = bool((factors != 1.0).any() or absorbed)
    notes = [note for group in groups for note in _notes(group, factors)]
    notes += [LayerNote(n, "bias absorbed", "", {"channels": k}) for n, k in absorbed.items()]
    layers = sum(len(group.producers) for group in groups)
    done = sum(note.action == "equalized" for note in notes)
    return Report(
        changed=changed,
        summary=f"Rescaled the channels of {done} of {layers} layers.",
        layers=tuple(notes),
        metrics={"layers": done, "channels": int((factors != 1.0).sum())},
    )


def _notes(group: ChannelGroup, factors: Vector) -> Iterator[LayerNote]:
    for slot in group.producers:
        found = factors[slot.classes]
        if group.blocked or not group.consumers or bool((found == 1.0).all()):
            reason = group.blocked or "its channels are even already"
            yield LayerNote(slot.layer.name, "skipped", reason)
            continue
        values = {"smallest": float(found.min()), "largest": float(found.max())}
        yield LayerNote(slot.layer.name, "equalized", slot.reason, values)
