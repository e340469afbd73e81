"""The algorithm `dead_channels`: takes out channels that cannot make a difference."""

from collections.abc import Mapping

from fewbits.channels import Channels, find_channels
from fewbits.graph import unshare_constants
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.options import Options as BaseOptions
from fewbits.provenance import LayerNote, Report
from pydantic import Field

from fewbits_pruning.constancy import constant_channels
from fewbits_pruning.liveness import unread_classes, zero_classes
from fewbits_pruning.removal import Cut, cuts, removable, remove, why_kept


class DeadChannelsOptions(BaseOptions):
    """Options of `dead_channels`."""

    calibrated: bool = Field(
        False,
        description="Take out channels, too, that are zero all over the calibration data, though "
        "other data might wake them.",
    )


class DeadChannels(Algorithm):
    """Takes out channels that are zero for every input, and channels that nobody reads."""

    name = "dead_channels"
    stage = Stage.OPTIMIZED
    Options = DeadChannelsOptions
    float_tolerance: float | None = 1e-5

    def __init__(self, options: BaseOptions | None = None) -> None:
        super().__init__(options)
        self.needs_calibration = self.options.calibrated
        self.float_tolerance = None if self.options.calibrated else 1e-5

    def apply(self, model: Model, context: Context) -> Result:
        """Return the smaller model.

        Raises:
            DataError: `calibrated` is asked for without calibration data.
        """
        new = model.copy()
        copies = unshare_constants(new.graph)
        masks = {copy: model.masks[name] for copy, name in copies.items() if name in model.masks}
        new = new.replace(masks={**model.masks, **masks})
        channels = find_channels(new.graph)
        wanted = zero_classes(channels, self._asleep(new, channels, context))
        wanted |= unread_classes(channels)
        chosen, reasons = removable(new.graph, channels, wanted)
        report = _report(channels, cuts(channels, chosen), reasons)
        if not chosen:
            return Result(model.advance(self.stage, network=model.copy().network), report)
        new = remove(new, channels, chosen)
        return Result(model.advance(self.stage, network=new.network, masks=new.masks), report)

    def _asleep(self, model: Model, channels: Channels, context: Context) -> set[int]:
        """Return the classes that are zero wherever they are read, on the calibration data."""
        if not self.options.calibrated:
            return set()
        context.need_calibration(self.name)
        return constant_channels(model, channels, context, 0.0).zero(channels)


def _report(channels: Channels, what: Mapping[str, Cut], reasons: Mapping[int, str]) -> Report:
    notes, outputs = [], 0
    for slot in channels.writers:
        cut = what[slot.layer.name]
        gone, lost = int((~cut.outputs).sum()), int((~cut.inputs).sum())
        values = {"outputs_removed": gone, "inputs_removed": lost}
        outputs += gone
        if not cut.whole:
            notes.append(LayerNote(slot.layer.name, "cut", values=values))
        else:
            why = why_kept(channels, reasons, slot.layer) or "every channel matters"
            notes.append(LayerNote(slot.layer.name, "left alone", why))
    touched = sum(not cut.whole for cut in what.values())
    return Report(
        changed=touched > 0,
        summary=f"{outputs} dead channels taken out, {touched} layers made smaller.",
        layers=tuple(notes),
        metrics={"channels": outputs, "layers": touched},
    )
