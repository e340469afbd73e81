"""The algorithm `adaround`: learns which way to round each weight, layer by layer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from fewbits.archive import content
from fewbits.data import take
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.provenance import LayerNote, Report
from fewbits.selection import matched
from fewbits.walk import Visit, Walk

from fewbits_adaround.options import AdaRoundOptions

if TYPE_CHECKING:
    import torch

_FEW_BITS = 4


class AdaRound(Algorithm):
    """Rounds each weight up or down so that the layer's output, not the weight, is closest."""

    name = "adaround"
    stage = Stage.QUANTIZED
    needs_calibration = True
    requires: ClassVar[Mapping[str, str]] = {"torch": "'fewbits[qft]'"}
    Options = AdaRoundOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with other roundings and biases.

        Raises:
            DataError: there is no calibration data.
            ModelError: the model is not quantized.
            RecipeError: a glob matches no layer.
        """
        dataset = context.need_calibration(f"Step '{self.name}'")
        samples = take(dataset, min(self.options.dataset_size, len(dataset)))
        chosen = matched(self.options.layers, model.precisions, self.name)
        notes: list[LayerNote] = []
        walk = Walk(
            model, samples, batch_size=context.batch_size, threads=context.threads, biases=True
        )
        with walk, _torch_ready(context.threads) as device:
            for visit in context.track(walk, "adaround", len(walk), "layers"):
                notes.append(self._visit(visit, chosen, context.rng, device))
        new = walk.model
        seen = {note.layer for note in notes}
        notes += [
            LayerNote(name, "left", "its input is a constant")
            for name in model.precisions
            if name not in seen
        ]
        advanced = model.advance(self.stage, network=new.network, encodings=new.encodings)
        changed = content(advanced) != content(model)
        return Result(advanced, _report(notes, len(samples), changed=changed))

    def _visit(
        self,
        visit: Visit,
        chosen: set[str],
        rng: np.random.Generator,
        device: "torch.device",
    ) -> LayerNote:
        from fewbits_adaround.layerwise import round_layer

        reason = self._reason(visit, chosen)
        if reason:
            return LayerNote(visit.name, "left", reason)
        outcome = round_layer(visit, self.options, rng, device)
        if outcome.weight is None:
            reason = "no rounding learnt was closer on the samples held out"
            return LayerNote(visit.name, "kept", reason, outcome.values)
        visit.replace(weight=outcome.weight, bias=outcome.bias)
        return LayerNote(visit.name, "rounded", values=outcome.values)

    def _reason(self, visit: Visit, chosen: set[str]) -> str:
        """Return why a layer is left alone, or nothing."""
        if visit.name not in chosen:
            return "it was not asked for"
        bits = visit.precision.weight_bits
        if self.options.mode == "train_4bit" and bits > _FEW_BITS:
            return f"its weights have {bits} bits, and mode is train_4bit"
        return ""


@contextmanager
def _torch_ready(threads: int | None) -> Iterator["torch.device"]:
    """Give the device to work on, a GPU if there is one, and keep torch to so many threads."""
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield torch.device("cuda" if torch.cuda.is_available() else "cpu")
    finally:
        torch.set_num_threads(before)


def _report(notes: list[LayerNote], samples: int, *, changed: bool) -> Report:
    """Sum up what became of the layers."""
    rounded = [note for note in notes if note.action == "rounded"]
    learnt = [note for note in notes if "settled" in note.values]
    loose = sum(note.values["unsettled"] for note in learnt)
    gains = [n.values["snr_after_db"] - n.values["snr_before_db"] for n in learnt]
    gain = float(np.mean(gains)) if gains else 0.0
    summary = (
        f"{len(rounded)} layers rounded anew, {len(learnt) - len(rounded)} kept,"
        f" {len(notes) - len(learnt)} left alone; their outputs gain {gain:.1f} dB on average,"
        f" {loose} choices had not settled"
    )
    metrics = {
        "rounded": len(rounded),
        "kept": len(learnt) - len(rounded),
        "gain_db": round(gain, 3),
        "unsettled": loose,
        "samples": samples,
    }
    return Report(changed=changed, summary=summary, layers=tuple(notes), metrics=metrics)
