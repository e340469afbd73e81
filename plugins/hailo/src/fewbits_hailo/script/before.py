"""Commands `pre_quantization_optimization`: steps in full precision."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fewbits_hailo.script.draft import Clip, Draft, Effect, adding
from fewbits_hailo.script.handling import Handler, need, selected, weighted, within
from fewbits_hailo.script.said import Said, UnfitError
from fewbits_hailo.script.selecting import Layers, Selection, short

_TSE = {"count": 6, "tile_height": 8}
_PERCENT = (0.01, 99.99)


def step_of(use: str, options: Callable[[Said], Mapping[str, Any]] = lambda said: {}) -> Handler:
    """Return the handler of a feature that is one step, there or not there.

    Args:
        use: the step.
        options: what the statement says of its options.
    """

    def handle(said: Said, layers: Layers) -> Sequence[Effect]:
        policy, given = said.values.get("policy", "enabled"), options(said)
        text = ", ".join([f"step {use}", *(f"{key}={value}" for key, value in given.items())])
        if policy == "disabled":
            return [Effect(f"no step {use}", lambda draft: draft.without(use))]
        if policy == "allowed":
            return [Effect(f"step {use} if the level has it", lambda draft: draft)]
        return [Effect(text, lambda draft: draft.with_options(use, given))]

    return handle


def tse_options(said: Said) -> Mapping[str, Any]:
    """Return how many blocks are tiled, and how high tiles are."""
    within(said, "count", 0, float("inf"))
    within(said, "tile_height", 1, float("inf"))
    return {key: said.values.get(key, default) for key, default in _TSE.items()}


def static_options(said: Said) -> Mapping[str, Any]:
    """Return how far a channel may move and still be static."""
    within(said, "eps", 0, 0.999)
    return {"tolerance": said.values["eps"]} if "eps" in said.values else {}


def activation_clipping(said: Said, layers: Layers) -> Sequence[Effect]:
    """What layers write is clipped."""
    return [_clipping(said, layers, "activation_clipping", said.values.get("mode", "percentile"))]


def weights_clipping(said: Said, layers: Layers) -> Sequence[Effect]:
    """Weights are clipped: by a step, or by the quantizer's choice of ranges."""
    mode = said.values.get("mode", "mmse_if4b")
    whole = {"mmse": "mse", "mmse_if4b": "mse", "disabled": "minmax"}
    if mode in whole:
        if not selected(said, layers).everything:
            raise UnfitError(
                "layers",
                f"weights_clipping with mode={mode} is for all layers here, or for none",
                "Write layers={*}, or leave the line out.",
            )
        return [_weight_range(whole[mode])]
    return [_clipping(said, layers, "weight_clipping", mode)]


def global_avgpool_reduction(said: Said, layers: Layers) -> Sequence[Effect]:
    """A pool over a whole map is taken in two; lines for several sizes are several steps."""
    if said.values.get("policy", "enabled") != "enabled":
        return [Effect("nothing: pools stay as they are", lambda draft: draft)]
    need(said, "division_factors")
    options: dict[str, Any] = {"division_factors": list(said.values["division_factors"])}
    selection = selected(said, layers)
    if not selection.everything:
        options["layers"] = list(_pools(selection, layers))
    return [adding("global_avgpool_reduction", options)]


def _pools(selection: Selection, layers: Layers) -> Sequence[str]:
    model = layers.model
    if model is None:
        return selection.nodes
    ops = {str(node.name): node.op_type for node in model.graph}
    pools = [name for name in selection.nodes if ops[name] == "GlobalAveragePool"]
    if not pools or (len(pools) < len(selection.nodes) and not selection.globbed):
        text = f"{selection.said} is no average over a whole map"
        raise UnfitError("layers", text, "Name global average pools, such as avgpool1.")
    return pools


def _weight_range(method: str) -> Effect:
    def change(draft: Draft) -> Draft:
        return draft.quantizer(weight_range=method)

    return Effect(f"quantizer: weight_range={method}", change)


def _clipping(said: Said, layers: Layers, use: str, mode: str) -> Effect:
    selection = selected(said, layers)
    names = ("*",) if selection.everything else weighted(layers, selection)
    if mode == "disabled":
        clip = Clip(mode, _PERCENT)
        return Effect(f"no step {use} for {short(names)}", lambda d: d.clipped(use, names, clip))
    clip = Clip(mode, _ends(said, mode))
    low, high = clip.values
    text = f"step {use}, layers=[{short(names)}], mode={mode}, clipping_values=[{low:g}, {high:g}]"
    return Effect(text, lambda draft: draft.clipped(use, names, clip))


def _ends(said: Said, mode: str) -> tuple[float, float]:
    """Return the two ends of a clipping.

    Raises:
        UnfitError: they are none.
    """
    if mode == "manual" and "clipping_values" not in said.values:
        raise UnfitError("mode", "mode=manual needs clipping_values", "Add clipping_values=[a, b].")
    low, high = said.values.get("clipping_values", _PERCENT)
    if mode == "manual" and not low <= 0.0 <= high:
        raise UnfitError("clipping_values", "0 must lie between the clipping_values")
    if mode != "manual" and not 0.0 <= low < high <= 100.0:
        raise UnfitError("clipping_values", "clipping_values must be percent, the lower end first")
    return low, high
