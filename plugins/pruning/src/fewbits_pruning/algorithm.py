"""The algorithm `pruning`: sets weights to zero for good, layer by layer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from fewbits.graph import Layer, constant, layers
from fewbits.hessian import Moments, input_moments, named_layers, passes
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.layermatrix import from_matrix, weight_matrix
from fewbits.model import Model, Stage
from numpy.typing import NDArray

from fewbits_pruning.edits import Edit, array, edited, report, with_own_constants
from fewbits_pruning.eligible import input_channels, left_alone
from fewbits_pruning.layerwise import (
    Task,
    by_magnitude,
    by_obs,
    mean_shift,
    output_snr,
    scores,
)
from fewbits_pruning.options import DEFAULT_RATIO, PruningOptions
from fewbits_pruning.selection import Pattern, smallest

Amounts = Mapping[str, Pattern | int]


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
        source = with_own_constants(model)
        reasons = left_alone(source, self.options)
        chosen = [layer.name for layer in layers(source.graph) if layer.name not in reasons]
        edits = self._edits(source, chosen, context)
        new, changed = edited(source, edits)
        result = new if changed else model.copy()
        account = report(result, self.options.method, reasons, edits, changed=changed)
        masks = {**result.masks}
        return Result(model.advance(self.stage, network=result.network, masks=masks), account)

    def _edits(self, model: Model, chosen: Sequence[str], context: Context) -> dict[str, Edit]:
        """Prune each layer by itself, on what the network as it is hands it."""
        amounts = self._amounts(model, chosen, context)
        edits: dict[str, Edit] = {}
        context.progress("prune", 0, len(chosen), "layers")
        for task in self._tasks(model, chosen, context):
            edits[task.layer.name] = self._edit(task, amounts[task.layer.name])
            context.progress("prune", len(edits), len(chosen), "layers")
        return edits

    def _tasks(self, model: Model, names: Sequence[str], context: Context) -> Iterator[Task]:
        """Yield layers with what pruning needs to know of them, a run of the data at a time."""
        chosen = named_layers(model, names)
        for run in passes(model, names):
            moments: Mapping[str, Moments] = {}
            if context.calibration is not None:
                moments = input_moments(model, run, context)
            for name in run:
                yield self._task(model, chosen[name], moments.get(name))

    def _task(self, model: Model, layer: Layer, moments: Moments | None) -> Task:
        weight = np.asarray(constant(layer.weight), np.float64)
        mask = model.masks.get(str(layer.weight.name), np.ones(weight.shape, np.bool_))
        order = self._order(layer)
        corrects = self.options.bias_correction and layer.op_type != "MatMul"
        return Task(
            layer,
            weight_matrix(layer, weight)[..., order],
            weight_matrix(layer, mask)[..., order],
            None if moments is None else moments.ordered(order),
            corrects and moments is not None,
            self.options.damping,
        )

    def _order(self, layer: Layer) -> NDArray[np.intp]:
        """Return the order of columns that puts the input channels of each tap side by side."""
        size = weight_matrix(layer, array(layer)).shape[-1]
        places = np.arange(size)
        if self.options.pattern is None:
            return places
        return places.reshape(input_channels(layer), -1).T.ravel()

    def _amounts(self, model: Model, chosen: Sequence[str], context: Context) -> Amounts:
        """Return layer name → pattern, or number of weights that go."""
        options = self.options
        if options.pattern is not None:
            return dict.fromkeys(chosen, Pattern.parse(options.pattern))
        ratio = DEFAULT_RATIO if options.ratio is None else options.ratio
        if options.scope == "layer" or not chosen:
            found = named_layers(model, chosen)
            return {name: round(ratio * array(layer).size) for name, layer in found.items()}
        tasks = self._tasks(model, chosen, context)
        ranked = {task.layer.name: scores(task, options.method) for task in tasks}
        together = np.concatenate([found.ravel() for found in ranked.values()])
        keep = smallest(together, round(ratio * together.size))
        ends = np.cumsum([found.size for found in ranked.values()])
        return {
            name: int((~part).sum())
            for name, part in zip(ranked, np.split(keep, ends[:-1]), strict=True)
        }

    def _edit(self, task: Task, amount: Pattern | int) -> Edit:
        layer = task.layer
        if self.options.method == "obs":
            pruned = by_obs(task, amount)
        else:
            pruned = by_magnitude(task, amount)
        held = array(layer)
        weight = pruned.weight.astype(held.dtype).astype(np.float64)
        bias = np.zeros(layer.out_channels)
        if layer.bias is not None:
            bias += np.asarray(constant(layer.bias), np.float64).reshape(-1)
        shift = np.zeros(layer.out_channels)
        if task.centered:
            shift = mean_shift(task, weight)
        back = np.argsort(self._order(layer))
        return Edit(
            from_matrix(layer, weight[..., back]).astype(held.dtype),
            from_matrix(layer, pruned.keep[..., back]),
            bias + shift if shift.any() else None,
            _values(task, weight, pruned.keep, bias, shift),
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
    if task.moments is not None:
        values["snr_db"] = round(output_snr(task, weight, bias, shift), 3)
    return values
