"""The algorithm `gptq`: weights rounded in turn, each error taken up by the weights behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from fewbits.bias import with_room_for_bias
from fewbits.data import take
from fewbits.graph import layers
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Encoding, Model, Stage
from fewbits.numerics import fake_quantize
from fewbits.outputmeans import column_means, float_output_means, output_means
from fewbits.provenance import LayerNote, Report
from fewbits.selection import matched
from fewbits.shifts import within_spread
from fewbits.targets import ShiftLimits
from fewbits.walk import Visit, Walk
from numpy.typing import NDArray

from fewbits_gptq.options import GptqOptions
from fewbits_gptq.solve import Solved, solve
from fewbits_gptq.sums import Sums, halves_of


@dataclass(frozen=True)
class Rounded:
    """What became of a layer.

    Args:
        before: error of its outputs with the weight that was there.
        after: error with the new weight.
        changed: whether weight, scale or bias are others.
    """

    before: float
    after: float
    changed: bool


class Gptq(Algorithm):
    """Rounds each layer's weights so that its output moves least, on the quantized inputs.

    Frantar et al. 2022, on the walk: the Hessian is that of the quantized layer's input, with all
    upstream rounded already; the bias then takes up what is left in the mean.
    """

    name = "gptq"
    stage = Stage.QUANTIZED
    needs_calibration = True
    Options = GptqOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with newly rounded weights.

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
        new, found = self._round(model, chosen, replace(context, calibration=dataset))
        result = model.advance(self.stage, network=new.network, encodings=new.encodings)
        return Result(result, _report(model, reasons, found))

    def _left_alone(self, model: Model) -> dict[str, str]:
        """Return layer → reason for the quantized layers that keep their weight."""
        names = list(model.precisions)
        chosen = matched(self.options.layers, names, self.name)
        chosen -= matched(self.options.exclude, names, self.name)
        reasons = {name: "it was not asked for" for name in names if name not in chosen}
        for name in names:
            bits = model.precisions[name].weight_bits
            if name in chosen and bits > self.options.bits:
                reasons[name] = f"its weights have {bits} bits, more than bits={self.options.bits}"
        return reasons

    def _round(
        self, model: Model, chosen: list[str], context: Context
    ) -> tuple[Model, dict[str, Rounded]]:
        if not chosen:
            return model, {}
        found: dict[str, Rounded] = {}
        wanted: Mapping[str, NDArray[np.float64]] = {}
        if not self.options.asymmetric and self.options.bias_correction:
            biased = [n.name for n in layers(model.graph) if n.name in chosen and _can(n.op_type)]
            wanted = float_output_means(model.at(Stage.OPTIMIZED), biased, context)
        limits = context.target.spec.shifts
        with Walk(
            model,
            context.need_calibration(self.name),
            reference=self.options.asymmetric,
            biases=self.options.bias_correction,
            batch_size=context.batch_size,
            threads=context.threads,
        ) as walk:
            for visit in context.track(walk, "round", len(walk), "layers"):
                if visit.name in chosen:
                    found[visit.name] = self._visit(visit, wanted.get(visit.name), limits)
            return walk.model, found

    def _visit(
        self, visit: Visit, wanted: NDArray[np.float64] | None, limits: ShiftLimits | None
    ) -> Rounded:
        corrected = self.options.bias_correction and visit.bias is not None
        halves = halves_of(visit, cross=self.options.asymmetric, centered=corrected)
        solved = solve(visit, halves, self.options)
        solved, bias = within(solved, limits), None
        if corrected:
            mean = _float_mean(visit, halves) if wanted is None else wanted
            solved, bias = with_bias(visit, solved, mean, limits)
        weight, held = visit.weight, visit.bias
        encoding = visit.weight_encoding
        visit.replace(weight=solved.weight, bias=bias, encoding=solved.encoding)
        same = np.array_equal(weight, visit.weight) and encoding.equals(visit.weight_encoding)
        if held is not None and visit.bias is not None:
            same = same and np.array_equal(held, visit.bias)
        return Rounded(solved.error_before, solved.error_after, not same)


def within(solved: Solved, limits: ShiftLimits | None) -> Solved:
    """Return a weight whose scales lie as close together as the device's shifts ask for."""
    return _on(within_spread(solved.encoding, limits), solved)


def with_bias(
    visit: Visit, solved: Solved, mean: NDArray[np.float64], limits: ShiftLimits | None = None
) -> tuple[Solved, NDArray[np.float64]]:
    """Return the bias that gives a layer its mean, and the weight on a grid with room for it.

    A channel of next to no weights has next to no step, in which its bias may need more integers
    than there are: its weights then lie on a coarser grid.
    """
    seen, source = column_means(visit.layer, visit.source), visit.source.encoding
    held = visit.bias_encoding
    assert held is not None
    assert source is not None
    bias = mean - output_means(visit.layer, solved.weight, seen)
    roomy = with_room_for_bias(solved.encoding, bias, source, held.bits)
    settled = _on(within_spread(roomy, limits), solved)
    if settled is solved:
        return solved, bias
    return settled, mean - output_means(visit.layer, settled.weight, seen)


def _on(encoding: Encoding, solved: Solved) -> Solved:
    """Return the weight on a coarser grid; as it is if that is its own."""
    if encoding.equals(solved.encoding):
        return solved
    weight = fake_quantize(solved.weight, encoding)
    return replace(solved, weight=weight, encoding=encoding)


def _can(op_type: str) -> bool:
    """Whether layers of a kind can have a bias."""
    return op_type != "MatMul"


def _float_mean(visit: Visit, halves: Sequence[Sums]) -> NDArray[np.float64]:
    """Return `E[W·t + b + d]`: what the float layer writes on average, and what it makes up for."""
    assert visit.float_source is not None
    means = column_means(visit.float_layer, visit.float_source)
    mean = output_means(visit.float_layer, visit.float_weight, means) + visit.float_bias
    extra = [half.first_extra for half in halves if half.first_extra is not None]
    if not extra:
        return mean
    count = sum(half.count for half in halves)
    return np.asarray(mean + np.add.reduce(extra).reshape(-1) / count)


def _report(model: Model, reasons: Mapping[str, str], found: Mapping[str, Rounded]) -> Report:
    notes = []
    for name, mode in model.precisions.items():
        done = found.get(name)
        if done is None:
            reason = reasons.get(name, "its input is a constant")
            notes.append(LayerNote(name, "kept", reason=reason))
            continue
        left = done.after / done.before if done.before > 0.0 else 1.0
        values = {"weight_bits": mode.weight_bits, "error_left": float(f"{left:.4g}")}
        reason = "" if done.changed else "its weights are rounded best already"
        action = "rounded" if done.changed else "kept"
        notes.append(LayerNote(name, action, reason=reason, values=values))
    changed = [done for done in found.values() if done.changed]
    lefts = [done.after / done.before for done in changed if done.before > 0.0]
    typical = float(np.median(lefts)) if lefts else 1.0
    summary = f"Rounded the weights of {len(changed)} of {len(model.precisions)} layers"
    summary += f"; {typical:.1%} of the squared output error is left (median)." if changed else "."
    metrics = {"layers": len(changed), "median_error_left": float(f"{typical:.4g}")}
    return Report(bool(changed), summary, tuple(notes), metrics)
