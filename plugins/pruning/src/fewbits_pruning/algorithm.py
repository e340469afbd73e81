"""The algorithm `pruning`: sets weights to zero for good, layer by layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import numpy as np
from fewbits.errors import RecipeError, nearest
from fewbits.graph import Layer, constant, ensure_bias, layers, set_constant, unshare_constants
from fewbits.hessian import (
    MOMENT_BYTES,
    from_matrix,
    input_moments,
    named_layers,
    passes,
    weight_matrix,
    weight_shape,
)
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.provenance import LayerNote, Report
from fewbits.reconstruction import Paired, paired_moments
from numpy.typing import NDArray

from fewbits_pruning.layerwise import (
    Task,
    by_magnitude,
    by_obs,
    output_snr,
    scores,
)
from fewbits_pruning.options import DEFAULT_RATIO, PruningOptions
from fewbits_pruning.selection import Pattern, smallest

Amounts = Mapping[str, Pattern | int]


@dataclass(frozen=True)
class _Edit:
    """What one layer becomes: weight and mask in its own layout, bias, and the account of it."""

    weight: NDArray[Any]
    mask: NDArray[np.bool_]
    bias: NDArray[np.float64] | None
    values: Mapping[str, Any]


class Pruning(Algorithm):
    """Prunes by ratio or N:M pattern, by magnitude or by OBS; the masks stay with the model."""

    name = "pruning"
    stage = Stage.OPTIMIZED
    needs_calibration = True
    Options = PruningOptions

    def __init__(self, options: PruningOptions | None = None) -> None:
        super().__init__(options)
        self.needs_calibration = self.options.method == "obs" or self.options.bias_correction

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with pruned weights and their masks.

        Raises:
            DataError: calibration data is needed and missing.
            RecipeError: a glob matches no layer.
        """
        if self.needs_calibration:
            context.need_calibration(self.name)
        source = _with_own_constants(model)
        reasons = self._left_alone(source)
        chosen = [layer for layer in layers(source.graph) if layer.name not in reasons]
        edits = self._edits(source, chosen, context)
        new, changed = _edited(source, edits)
        result = new if changed else model.copy()
        report = self._report(result, reasons, edits, changed)
        masks = {**result.masks}
        return Result(model.advance(self.stage, network=result.network, masks=masks), report)

    def _left_alone(self, model: Model) -> dict[str, str]:
        """Return layer name → reason why it is not pruned."""
        found = list(layers(model.graph))
        names = [layer.name for layer in found]
        wanted = _matching(self.options.layers, names) if self.options.layers else set(names)
        excluded = _matching(self.options.exclude, names)
        named = set(wanted) if self.options.layers else set()
        reasons = {
            layer.name: self._reason(layer, layer.name in named, model)
            for layer in found
            if layer.name in wanted
        }
        reasons |= dict.fromkeys(excluded, "excluded by the option exclude")
        rest = dict.fromkeys(set(names) - wanted, "not among the layers of the option layers")
        return {name: reason for name, reason in (reasons | rest).items() if reason}

    def _reason(self, layer: Layer, named: bool, model: Model) -> str:
        inputs = _input_channels(layer)
        if self.options.pattern is not None:
            run = Pattern.parse(self.options.pattern).run
            if inputs % run:
                return f"{inputs} input channels per group are no multiple of {run}"
        if named or self.options.small:
            return ""
        if layer.groups > 1 and inputs == 1:
            return "depthwise; small=true prunes it"
        if layer.input.name in model.input_names:
            return "it reads a network input; small=true prunes it"
        return ""

    def _edits(self, source: Model, chosen: Sequence[Layer], context: Context) -> dict[str, _Edit]:
        """Prune stage by stage, each on what the network pruned so far hands it."""
        amounts = self._amounts(source, chosen, context)
        edits: dict[str, _Edit] = {}
        current = source
        context.progress("prune", 0, len(chosen), "layers")
        for stage in _stages([layer.name for layer in chosen], self.options.stages):
            for task in self._tasks(current, source, stage, context):
                edits[task.layer.name] = self._edit(task, amounts[task.layer.name])
                context.progress("prune", len(edits), len(chosen), "layers")
            edited, changed = _edited(source, edits)
            current = edited if changed else source
        return edits

    def _tasks(
        self, current: Model, source: Model, names: Sequence[str], context: Context
    ) -> Iterator[Task]:
        """Yield layers with what pruning needs to know of them, a run of the data at a time."""
        chosen = named_layers(source, names)
        share = 1 if current is source else 3
        for run in passes(source, names, limit=MOMENT_BYTES // share):
            paired: Mapping[str, Paired] = {}
            if context.calibration is not None and current is source:
                found = input_moments(source, run, context)
                paired = {name: Paired.same(moments) for name, moments in found.items()}
            elif context.calibration is not None:
                paired = paired_moments(current, source, run, context)
            for name in run:
                yield self._task(source, chosen[name], paired.get(name))

    def _task(self, model: Model, layer: Layer, paired: Paired | None) -> Task:
        weight = np.asarray(constant(layer.weight), np.float64)
        mask = model.masks.get(str(layer.weight.name), np.ones(weight.shape, np.bool_))
        order = self._order(layer)
        corrects = self.options.bias_correction and layer.op_type != "MatMul"
        return Task(
            layer,
            weight_matrix(layer, weight)[..., order],
            weight_matrix(layer, mask)[..., order],
            None if paired is None else paired.ordered(order),
            corrects and paired is not None,
            self.options.damping,
        )

    def _order(self, layer: Layer) -> NDArray[np.intp]:
        """Return the order of columns that puts the input channels of each tap side by side."""
        size = weight_matrix(layer, np.empty(weight_shape(layer), np.bool_)).shape[-1]
        places = np.arange(size)
        if self.options.pattern is None:
            return places
        return places.reshape(_input_channels(layer), -1).T.ravel()

    def _amounts(self, model: Model, chosen: Sequence[Layer], context: Context) -> Amounts:
        """Return layer name → pattern, or number of weights that go."""
        options = self.options
        if options.pattern is not None:
            return {layer.name: Pattern.parse(options.pattern) for layer in chosen}
        ratio = DEFAULT_RATIO if options.ratio is None else options.ratio
        if options.scope == "layer" or not chosen:
            return {layer.name: round(ratio * _size(layer)) for layer in chosen}
        tasks = self._tasks(model, model, [layer.name for layer in chosen], context)
        ranked = {task.layer.name: scores(task, options.method) for task in tasks}
        together = np.concatenate([found.ravel() for found in ranked.values()])
        keep = smallest(together, round(ratio * together.size))
        ends = np.cumsum([found.size for found in ranked.values()])
        return {
            name: int((~part).sum())
            for name, part in zip(ranked, np.split(keep, ends[:-1]), strict=True)
        }

    def _edit(self, task: Task, amount: Pattern | int) -> _Edit:
        layer = task.layer
        if self.options.method == "obs":
            pruned = by_obs(task, amount)
        else:
            pruned = by_magnitude(task, amount)
        held = _array(layer)
        weight = pruned.weight.astype(held.dtype).astype(np.float64)
        bias = np.zeros(layer.out_channels)
        if layer.bias is not None:
            bias += np.asarray(constant(layer.bias), np.float64).reshape(-1)
        shift = np.zeros(layer.out_channels)
        if task.centered and task.paired is not None:
            shift = task.paired.mean_shift(task.weight, weight)
        back = np.argsort(self._order(layer))
        return _Edit(
            from_matrix(layer, weight[..., back]).astype(held.dtype),
            from_matrix(layer, pruned.keep[..., back]),
            bias + shift if shift.any() else None,
            _values(task, weight, pruned.keep, bias, shift),
        )

    def _report(
        self, model: Model, reasons: Mapping[str, str], edits: Mapping[str, _Edit], changed: bool
    ) -> Report:
        notes = []
        for layer in layers(model.graph):
            edit = edits.get(layer.name)
            if edit is None:
                notes.append(LayerNote(layer.name, "left alone", reasons[layer.name]))
            elif edit.mask.all() or not changed:
                notes.append(LayerNote(layer.name, "left alone", "nothing to prune", edit.values))
            else:
                notes.append(LayerNote(layer.name, "pruned", values=edit.values))
        total = sum(_size(layer) for layer in layers(model.graph))
        gone = sum(int((~edit.mask).sum()) for edit in edits.values())
        inside = sum(edit.mask.size for edit in edits.values())
        metrics = {
            "layers": len(edits),
            "pruned": gone,
            "sparsity": gone / max(inside, 1),
            "sparsity_of_all": gone / max(total, 1),
        }
        snrs = [e.values["snr_db"] for e in edits.values() if "snr_db" in e.values]
        worst = f"; worst layer output SNR {min(snrs):.1f} dB" if snrs else ""
        return Report(
            changed=changed,
            summary=f"{gone / max(inside, 1):.1%} of the weights of {len(edits)} layers pruned by "
            f"{self.options.method} ({gone / max(total, 1):.1%} of all){worst}",
            layers=tuple(notes),
            metrics=metrics,
        )


def _values(
    task: Task,
    weight: NDArray[np.float64],
    keep: NDArray[np.bool_],
    bias: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> dict[str, Any]:
    norm = float(np.linalg.norm(task.weight))
    values = {
        "sparsity": round(float((~keep).mean()), 6),
        "weight_error": round(float(np.linalg.norm(task.weight - weight)) / norm, 6) if norm else 0,
    }
    if task.paired is not None:
        values["snr_db"] = round(output_snr(task, weight, bias, shift), 3)
    return values


def _stages(names: Sequence[str], count: int) -> list[list[str]]:
    """Split names into so many runs of about the same length, or fewer."""
    ends = np.linspace(0, len(names), min(count, len(names)) + 1).round().astype(int)
    return [list(names[a:b]) for a, b in pairwise(ends)]


def _matching(globs: Sequence[str], names: Sequence[str]) -> set[str]:
    """Return the names that globs match.

    Raises:
        RecipeError: one of them matches none.
    """
    found: set[str] = set()
    for glob in globs:
        matched = {name for name in names if name == glob or fnmatchcase(name, glob)}
        if not matched:
            raise RecipeError(
                f"step 'pruning': no layer matches '{glob}'.", hint=nearest(glob, names)
            )
        found |= matched
    return found


def _with_own_constants(model: Model) -> Model:
    """Return a copy in which every layer has a weight and a bias of its own."""
    new = model.copy()
    copies = unshare_constants(new.graph)
    masks = {copy: model.masks[name] for copy, name in copies.items() if name in model.masks}
    return new.replace(masks={**model.masks, **masks})


def _edited(source: Model, edits: Mapping[str, _Edit]) -> tuple[Model, bool]:
    """Return a copy with new weights, biases and masks, and whether any of them differ."""
    new, masks, changed = source.copy(), dict(source.masks), False
    for layer in list(layers(new.graph)):
        edit = edits.get(layer.name)
        name = str(layer.weight.name)
        if edit is None or (edit.mask.all() and name not in masks):
            continue
        changed |= name not in masks or not np.array_equal(masks[name], edit.mask)
        changed |= not np.array_equal(_array(layer), edit.weight)
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


def _array(layer: Layer) -> NDArray[Any]:
    weight = constant(layer.weight)
    assert weight is not None
    return weight


def _size(layer: Layer) -> int:
    return int(np.prod(weight_shape(layer), dtype=np.int64))


def _input_channels(layer: Layer) -> int:
    """Return the number of input channels of each group."""
    shape = weight_shape(layer)
    if layer.op_type == "ConvTranspose":
        return shape[0] // layer.groups
    return shape[1 - layer.weight_axis]
