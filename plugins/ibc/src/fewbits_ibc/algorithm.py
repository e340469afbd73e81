"""The algorithm `ibc`: iterative bias correction (Finkelstein et al. 2019)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from fewbits.data import take
from fewbits.graph import Layer, layers
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.noise import layer_snr
from fewbits.options import Options
from fewbits.outputmeans import float_output_means, float_output_means_twice
from fewbits.provenance import LayerNote, Report
from fewbits.selection import matched
from fewbits.walk import Walk
from numpy.typing import NDArray
from pydantic import Field

from fewbits_ibc.correction import HEAD, Aim, Corrected, correct_clipped, correct_linear
from fewbits_ibc.outputs import clipped_mean, is_clipped, product_mean
from fewbits_ibc.shift import linear_shift, rms

Match = Literal["activation", "pre_activation"]


class IbcOptions(Options):
    """Options of `ibc`."""

    policy: Literal["enabled", "disabled"] = Field(
        "enabled", description="disabled leaves every bias as it is."
    )
    layers: tuple[str, ...] = Field(("*",), description="Layers to correct, names or globs.")
    exclude: tuple[str, ...] = Field((), description="Layers to leave alone, names or globs.")
    samples: int | None = Field(
        None, ge=1, description="Calibration samples to take the means over, from the start."
    )
    match: Match = Field(
        "pre_activation",
        description="Which mean to put right: the one in front of each layer's activation, or that"
        " behind it.",
    )
    snr_samples: int = Field(
        16,
        ge=0,
        description="Samples to measure each layer's SNR on, before and after; 0 measures none.",
    )


class Ibc(Algorithm):
    """Gives each output channel the mean that it has in full precision, layer after layer.

    `b_l += δ` with `E_float[z_l] = E_quant[z_l + δ]` in graph order, or the same of `f(z_l)`, `f`
    the activation, with all that lies upstream corrected already; the bias is rounded to its
    integers again.
    """

    name = "ibc"
    stage = Stage.QUANTIZED
    needs_calibration = True
    Options = IbcOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with corrected biases.

        Raises:
            DataError: there is no calibration data, or less than `samples`.
            RecipeError: a glob matches no layer.
            ModelError: the model is not quantized.
        """
        dataset = context.need_calibration(f"Step '{self.name}'")
        if self.options.samples is not None:
            dataset = take(dataset, self.options.samples)
        reasons = self._left_alone(model)
        chosen = [name for name in model.precisions if name not in reasons]
        measured = replace(context, calibration=dataset)
        new, found = correct(model, chosen, self.options.match, measured)
        before, after = self._noise(model, new, measured, found)
        return Result(
            model.advance(self.stage, network=new.network, encodings=new.encodings),
            _report(model, reasons, found, before, after),
        )

    def _left_alone(self, model: Model) -> dict[str, str]:
        """Return layer → reason for the quantized layers that keep their bias."""
        known = {layer.name: layer for layer in layers(model.graph)}
        quantized = {name: known[name] for name in model.precisions}
        chosen = matched(self.options.layers, quantized, self.name)
        excluded = matched(self.options.exclude, quantized, self.name)
        reasons = {name: self._reason(layer, chosen, excluded) for name, layer in quantized.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    def _reason(self, layer: Layer, chosen: set[str], excluded: set[str]) -> str:
        if self.options.policy == "disabled":
            return "policy=disabled"
        if layer.name not in chosen or layer.name in excluded:
            return "it was not asked for"
        return "a MatMul has no bias" if layer.op_type == "MatMul" else ""

    def _noise(
        self, model: Model, new: Model, context: Context, found: Mapping[str, Corrected]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return each layer's SNR in dB in both models; nothing where it was not asked for."""
        dataset = context.need_calibration(self.name)
        count = min(self.options.snr_samples, len(dataset))
        if not count or not found:
            return {}, {}
        some = take(dataset, count)
        before, after = (
            layer_snr(
                each,
                some,
                batch_size=context.batch_size,
                threads=context.threads,
                progress=context.progress,
            )
            for each in (model, new)
        )
        return {n.layer: n.snr_db for n in before}, {n.layer: n.snr_db for n in after}


def correct(
    model: Model, names: Sequence[str], match: Match, context: Context
) -> tuple[Model, dict[str, Corrected]]:
    """Correct the biases of some layers.

    Args:
        model: at stage `quantized`; it is not changed.
        names: layers that can have a bias.
        match: which means.
        context: gives the data, the batch size, threads and progress.

    Returns:
        The new model, the one given if no bias changed, and what became of each layer.
    """
    if not names:
        return model, {}
    activated, origin = match == "activation", model.at(Stage.OPTIMIZED)
    heads, wholes = float_output_means_twice(origin, names, HEAD, context, activated=activated)
    found: dict[str, Corrected] = {}
    with Walk(
        model,
        context.need_calibration("Bias correction"),
        reference=False,
        biases=True,
        batch_size=context.batch_size,
        threads=context.threads,
    ) as walk:
        for visit in context.track(walk, "correct", len(walk), "layers"):
            if visit.name in wholes:
                aim = Aim(heads[visit.name], wholes[visit.name])
                clipped = activated and is_clipped(visit.layer)
                found[visit.name] = (
                    correct_clipped(visit, aim, context.threads)
                    if clipped
                    else correct_linear(visit, aim.whole)
                )
        return walk.model, found


def model_shifts(
    model: Model, context: Context, match: Match = "activation"
) -> dict[str, NDArray[np.float64]]:
    """Return the shift of each layer that has a bias, everything as it stands, `(out,)` each.

    Args:
        model: at stage `quantized`.
        context: gives the data, the batch size, threads and progress.
        match: of which means.
    """
    found: dict[str, NDArray[np.float64]] = {}
    activated, origin = match == "activation", model.at(Stage.OPTIMIZED)
    with Walk(
        model,
        context.need_calibration("Measuring shifts"),
        reference=False,
        batch_size=context.batch_size,
        threads=context.threads,
    ) as walk:
        biased = [name for name in walk.names if walk.layer(name).bias is not None]
        wanted = float_output_means(origin, biased, context, activated=activated)
        for visit in walk:
            if visit.bias is None:
                continue
            if activated and is_clipped(visit.layer):
                seen = clipped_mean(visit, visit.bias, context.threads)
                found[visit.name] = wanted[visit.name] - seen
            else:
                aim, product = wanted[visit.name], product_mean(visit)
                found[visit.name] = linear_shift(aim, product, visit.bias)
    return found


def _report(
    model: Model,
    reasons: Mapping[str, str],
    found: Mapping[str, Corrected],
    snr_before: Mapping[str, float],
    snr_after: Mapping[str, float],
) -> Report:
    notes = []
    for name in model.precisions:
        done = found.get(name)
        if done is None:
            reason = reasons.get(name, "its input is a constant")
            notes.append(LayerNote(name, "kept", reason=reason))
            continue
        values = {
            "shift_before": float(f"{rms(done.before):.4g}"),
            "shift_after": float(f"{rms(done.after):.4g}"),
        }
        if name in snr_after:
            values |= {"snr_before_db": round(snr_before[name], 2)}
            values |= {"snr_after_db": round(snr_after[name], 2)}
        reason = "" if done.changed else "the shift is below half a step of the bias"
        notes.append(
            LayerNote(name, "corrected" if done.changed else "kept", reason=reason, values=values)
        )
    changed = [done for done in found.values() if done.changed]
    total = float(np.sqrt(sum(np.sum(done.before**2) for done in found.values())))
    left = float(np.sqrt(sum(np.sum(done.after**2) for done in found.values())))
    share = left / total if total else 0.0
    summary = f"Corrected the biases of {len(changed)} of {len(model.precisions)} layers"
    summary += f"; {share:.2%} of the shift is left." if changed else "."
    metrics = {"layers": len(changed), "shift_left": float(f"{share:.4g}")}
    return Report(bool(changed), summary, tuple(notes), metrics)
