"""Commands about bits, ranges and statistics, which are options of the quantizer."""

from collections.abc import Sequence
from typing import Any

from fewbits.interfaces import Target
from fewbits.levels import COMPRESSION, OPTIMIZATION
from fewbits.model import Precision
from fewbits.recipe import Step

from fewbits_hailo.script.draft import Draft, Effect, NoPlaceError
from fewbits_hailo.script.handling import need, selected, within
from fewbits_hailo.script.said import Said, UnfitError
from fewbits_hailo.script.selecting import Layers, Selection, UnknownLayerError, short

_INFINITE = float("inf")
_SHARES = {"auto_4bit_weights_ratio": "ratio_4bit", "auto_16bit_weights_ratio": "ratio_16bit"}
#: modes that `mixed_precision` can give all layers whose bits it does not choose.
_COMMON = frozenset({"a8_w8", "a16_w8", "a16_w16"})


def flavor(said: Said, layers: Layers) -> Sequence[Effect]:
    """The levels; they are read off by whoever chooses the recipe."""
    for option, known in (("optimization_level", OPTIMIZATION), ("compression_level", COMPRESSION)):
        value = said.values.get(option)
        if value is not None and value not in known:
            listed = ", ".join(map(str, known))
            raise UnfitError(option, f"there is no {option} {value}", f"Known: {listed}.")
    return [_told(said, option) for option in said.values]


def seed(said: Said, layers: Layers) -> Sequence[Effect]:
    """The run's seed, likewise."""
    need(said, "seed")
    within(said, "seed", 0, _INFINITE)
    return [_told(said, "seed")]


def _told(said: Said, option: str) -> Effect:
    return Effect(f"{option.replace('_', ' ')} {said.values[option]}", lambda draft: draft)


def calibration(said: Said, layers: Layers) -> Sequence[Effect]:
    """Statistics of the first so many samples."""
    within(said, "calibset_size", 1, _INFINITE)
    if "calibset_size" not in said.values:
        return []
    count = said.values["calibset_size"]
    return [Effect(f"quantizer: samples={count}", lambda draft: draft.quantizer(samples=count))]


def compression_params(said: Said, layers: Layers) -> Sequence[Effect]:
    """Shares of the weights in 4 and in 16 bits."""
    for option in _SHARES:
        within(said, option, 0, 1)
    if sum(said.values.get(option, 0) for option in _SHARES) > 1:
        raise UnfitError("auto_16bit_weights_ratio", "the two shares are more than 1 together")
    shares = {_SHARES[option]: value for option, value in said.values.items()}
    text = ", ".join(f"{key}={value:g}" for key, value in shares.items())
    return [Effect(f"quantizer: {text}", lambda draft: draft.with_shares(**shares))]


def quantization_param(said: Said, layers: Layers) -> Sequence[Effect]:
    """Precision modes and ranges of single layers."""
    need(said, "layers")
    selection = selected(said, layers)
    effects = []
    if "precision_mode" in said.values:
        effects.append(_precision(said.values["precision_mode"], selection, layers))
    if "force_range_out" in said.values:
        names = (*selection.nodes, *selection.ports)
        effects.append(_forced(said, "force_range_out", names))
    if "force_range_in" in said.values:
        effects.append(_forced(said, "force_range_in", _read(said, selection, layers)))
    elif "force_range_index" in said.values:
        raise UnfitError("force_range_index", "force_range_index says whose, and no range is given")
    return effects


def _precision(mode: str, selection: Selection, layers: Layers) -> Effect:
    _need_mode(mode, layers.target)
    if selection.everything:
        return Effect(f"quantizer: precision={mode}", lambda draft: _everywhere(draft, mode))
    ports = (*selection.ports, *layers.outputs_of(selection))
    names = dict.fromkeys((*layers.with_functions(selection), *ports), mode)
    shown = short(selection.nodes or selection.ports)
    return Effect(
        f"quantizer: layers={{{shown}: {mode}}}", lambda draft: draft.quantizer(layers=names)
    )


def _need_mode(mode: str, target: Target | None) -> None:
    if target is not None and Precision.parse(mode) not in target.spec.precisions:
        known = ", ".join(sorted(map(str, target.spec.precisions)))
        raise UnfitError(
            "precision_mode", f"target {target.name} does not run {mode}", f"It runs {known}."
        )


def _everywhere(draft: Draft, mode: str) -> Draft:
    """Give every layer one mode, whatever lines before said of single ones."""
    held = draft.held_quantizer()
    rest: dict[str, Any] = {k: v for k, v in held.options.items() if k != "layers"}
    if held.use == "mixed_precision" and mode not in _COMMON:
        new = Step(held.use, {**rest, "layers": {"*": mode}})
    else:
        new = Step(held.use, {**rest, "precision": mode})
    return draft.changed(held, new)


def _forced(said: Said, option: str, names: Sequence[str]) -> Effect:
    low, high = said.values[option]
    if not low < high:
        raise UnfitError(option, f"option '{option}' is [{low:g}, {high:g}], which does not rise")
    ranges = {name: [low, high] for name in names}
    text = f"quantizer: ranges={{{short(names)}: [{low:g}, {high:g}]}}"
    return Effect(text, lambda draft: draft.quantizer(ranges=ranges))


def _read(said: Said, selection: Selection, layers: Layers) -> tuple[str, ...]:
    try:
        return layers.read_by(selection, said.values.get("force_range_index", 0))
    except UnknownLayerError as error:
        raise UnfitError("force_range_index", error.message, error.hint) from error


def mix_precision_search(said: Said, layers: Layers) -> Sequence[Effect]:
    """The bits of each layer by what they cost; how many, other lines or the level say."""
    if said.values.get("policy", "enabled") != "enabled":
        return [Effect("nothing: levels and shares choose bits by themselves", lambda draft: draft)]
    within(said, "dataset_size", 1, _INFINITE)
    options: dict[str, Any] = {"dataset_size": said.values.get("dataset_size", 16)}
    if "optimizer" in said.values:
        options["optimizer"] = {"linear": "greedy"}.get(said.values["optimizer"], "pareto")
    text = ", ".join(f"{key}={value}" for key, value in options.items())
    return [Effect(f"mixed_precision: {text}", lambda draft: _searched(draft, options), late=True)]


def _searched(draft: Draft, options: dict[str, Any]) -> Draft:
    held = draft.held_quantizer()
    if held.use != "mixed_precision":
        raise NoPlaceError(
            "nothing says how many weights mix_precision_search is to give fewer or more bits",
            "Add model_optimization_config(compression_params, auto_4bit_weights_ratio=0.2), or"
            " a compression_level from 1 to 4.",
        )
    return draft.quantizer(**options)
