"""The algorithm `equalization`: finds the channels, chooses their factors, applies them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from fewbits.calibration import TensorStatistics
from fewbits.channels import ChannelGroup, Channels, find_channels
from fewbits.errors import TargetError
from fewbits.graph import unshare_constants
from fewbits.interfaces import Algorithm, Context, Quantizer, Result
from fewbits.model import Model, Precision, Stage

from fewbits_equalization.absorb import absorb
from fewbits_equalization.account import Done, account
from fewbits_equalization.apply import rescale
from fewbits_equalization.bounds import unbound
from fewbits_equalization.factors import Vector
from fewbits_equalization.noise import Grids
from fewbits_equalization.options import EqualizationOptions
from fewbits_equalization.search import cross_layer, in_one_pass
from fewbits_equalization.sweep import by_noise
from fewbits_equalization.watch import lows_before, lows_before_relus, watched

DEFAULT = "a8_w8"
_GRANULARITIES = ("per_channel", "per_tensor")
_PRECISIONS = ("a8_w8", "a8_w4", "a16_w4", "a16_w8", "a16_w16")
SAME = 1e-12  # what arithmetic leaves of a factor of 1


class Equalization(Algorithm):
    """Rescales channels so that one scale fits them all; the network computes what it did."""

    name = "equalization"
    stage = Stage.OPTIMIZED
    Options = EqualizationOptions
    needs_calibration = True
    float_tolerance: float | None = 1e-5

    def __init__(self, options: EqualizationOptions | None = None) -> None:
        super().__init__(options)
        if self.options.clip == "relu" or self.options.absorb_bias:
            self.float_tolerance = None  # what holds on the calibration data is no promise

    def options_before(self, following: Sequence[Algorithm]) -> Mapping[str, Any]:
        """Return what the quantizer behind is asked for, where this step is not told."""
        asked: Any = next((s.options for s in following if isinstance(s, Quantizer)), None)
        found: dict[str, Any] = {}
        if self.options.weights == "target" and _known(asked, "weights", _GRANULARITIES):
            found["weights"] = asked.weights
        if self.options.precision == "quantizer" and _known(asked, "precision", _PRECISIONS):
            found["precision"] = asked.precision
        return found

    def apply(self, model: Model, context: Context) -> Result:
        """Return the rescaled model; the report names every layer with its factors.

        Raises:
            DataError: there is no calibration data.
            TargetError: the target has no weights of the granularity asked for.
        """
        context.need_calibration(self.name)
        grids = self._grids(context)
        new = model.copy()
        copies = unshare_constants(new.graph)
        seen = self._seen(context)
        channels = find_channels(new.graph)
        idle = self.options.mode == "noise" and not grids.gain_to_expect
        needed = not idle or self.options.clip == "relu"
        statistics = watched(new, channels, seen) if needed else {}
        relus = unbound(new.graph, statistics) if self.options.clip == "relu" else {}
        channels = find_channels(new.graph) if relus else channels
        groups = tuple(map(self._allowed, channels.groups()))
        lows = lows_before(new, channels, seen) if self.options.pre_activation else {}
        factors = self._factors(channels, groups, statistics, grids, lows)
        factors[np.abs(factors - 1.0) < SAME] = 1.0
        rescale(new.graph, channels, factors)
        absorbed = {}
        if self.options.absorb_bias:
            absorbed = absorb(new.graph, lows_before_relus(new, context))
        report = account(Done(groups, factors, absorbed, relus, idle))
        if not report.changed:
            return Result(model.advance(self.stage), report)
        masks = {copy: new.masks[name] for copy, name in copies.items() if name in new.masks}
        out = model.advance(self.stage, network=new.network, masks={**new.masks, **masks})
        return Result(out, report)

    def _grids(self, context: Context) -> Grids:
        """Return how the quantizer will round, as far as `mode=noise` has to know."""
        spec, asked = context.target.spec, self.options.weights
        weights = spec.weights if asked == "target" else asked
        if weights not in spec.granularities:
            raise TargetError(
                f"Target {context.target.name} has no {weights} weights.",
                hint=f"Choose weights={' or weights='.join(sorted(spec.granularities))}.",
            )
        asked_mode = self.options.precision
        precision = Precision.parse(DEFAULT if asked_mode == "quantizer" else asked_mode)
        return Grids.of(precision, per_channel=weights == "per_channel")

    def _seen(self, context: Context) -> Context:
        """Return the context with the calibration samples to look at only."""
        data, count = context.need_calibration(self.name), self.options.samples
        if len(data) <= count or self.options.clip == "relu":
            return context
        return replace(context, calibration=data.select(np.arange(count) * len(data) // count))

    def _allowed(self, group: ChannelGroup) -> ChannelGroup:
        """Return the group, blocked if it lies before a clip that is not to be crossed."""
        clips = [operand.node.name for operand in group.operands if operand.is_clip]
        if self.options.clip != "off" or not clips:
            return group
        reason = f"Clip '{clips[0]}' is not crossed (clip=off)"
        return replace(group, classes=group.classes[:0], blocked=reason)

    def _factors(
        self,
        channels: Channels,
        groups: tuple[ChannelGroup, ...],
        statistics: Mapping[str, TensorStatistics],
        grids: Grids,
        lows: Mapping[str, Vector],
    ) -> Vector:
        shared = self.options.clip in ("shared", "relu")
        if self.options.mode == "noise":
            return by_noise(channels, groups, statistics, shared=shared, grids=grids)
        if self.options.mode == "cle":
            return cross_layer(channels, groups, statistics, shared=shared)
        return in_one_pass(
            channels,
            groups,
            statistics,
            cap=self.options.cap,
            weighted=self.options.mode == "two_step",
            shared=shared,
            lows=lows,
        )


def _known(options: Any, name: str, values: Sequence[str]) -> bool:
    """Whether a quantizer has an option with a value that this step knows."""
    return getattr(options, name, None) in values
