"""Commands `post_quantization_optimization`: steps on the quantized network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fewbits.recipe import Step

from fewbits_hailo.script.draft import SCALES, Draft, Effect, defaults_of
from fewbits_hailo.script.handling import EVERYTHING, need, select, selected, weighted, within
from fewbits_hailo.script.said import Said, UnfitError
from fewbits_hailo.script.selecting import Layers, without
from fewbits_hailo.script.syntax import Value, Word
from fewbits_hailo.script.table.after import ADAROUND_RATE, FINETUNE_RATE

_INFINITE = float("inf")
#: rates of ours that stand against those the compiler starts from.
_QFT_RATE = 0.01
_ADAROUND_STEP = 0.03
_LOSSES = ("l2rel", "l2", "cosine")
_ENCODING_EPOCHS = 8


def bias_correction(said: Said, layers: Layers) -> Sequence[Effect]:
    """IBC, for all layers or some."""
    policy = said.values.get("policy", "allowed")
    names: list[str] = []
    if "layers" in said.values:
        selection = selected(said, layers)
        names = [] if selection.everything else list(weighted(layers, selection))
    if policy == "disabled" and names:
        text = f"step {Step('ibc', {'exclude': names})} if the level has it"
        return [Effect(text, lambda draft: _left_out(draft, names))]
    if policy == "disabled":
        return [Effect("no step ibc", lambda draft: draft.without("ibc"))]
    options = {"layers": names} if names else {}
    if policy == "allowed":
        return [_changed("ibc", options)]
    text = f"step {Step('ibc', options)}"
    return [Effect(text, lambda draft: draft.with_options("ibc", options))]


def _left_out(draft: Draft, names: Sequence[str]) -> Draft:
    """Return the draft in which `ibc` leaves these layers alone, and those of lines before."""
    held = draft.find("ibc")
    if held is None:
        return draft
    every = dict.fromkeys([*held.options.get("exclude", ()), *names])
    return draft.changed(held, Step("ibc", {**held.options, "exclude": [*every]}))


def finetune(said: Said, layers: Layers) -> Sequence[Effect]:
    """QFT."""
    options = _tuning(said, layers)
    if said.values.get("bias_only"):
        options["train"] = ["biases"]
    elif said.values.get("train_scales") is False:
        options["train"] = ["weights", "biases"]
    return [_trained(said, "qft", options, _is_finetuning)]


def train_encoding(said: Said, layers: Layers) -> Sequence[Effect]:
    """QFT in which only scales move, in front of any finetuning."""
    options = {"epochs": _ENCODING_EPOCHS, **_tuning(said, layers), "train": SCALES}
    if said.values.get("policy", "enabled") != "enabled":
        return [Effect("no step qft for scales alone", _without_encoding)]

    def change(draft: Draft) -> Draft:
        draft = _without_encoding(draft)
        held = draft.find("qft")
        step = Step("qft", {**defaults_of("qft"), **options})
        if held is None:
            return draft.add(step)
        return draft.changed(held, step).add(held)

    return [Effect(f"step {Step('qft', options)}", change)]


def adaround(said: Said, layers: Layers) -> Sequence[Effect]:
    """AdaRound; it takes the place of GPTQ, as in the levels."""
    options = _common(said)
    for key in ("warmup", "weight", "train_bias", "mode"):
        if key in said.values:
            options[key] = said.values[key]
    within(said, "warmup", 0, 0.999)
    within(said, "weight", 0, _INFINITE)
    if "b_range" in said.values:
        options["b_range"] = list(said.values["b_range"])
        if not said.values["b_range"][0] >= said.values["b_range"][1] > 0:
            raise UnfitError("b_range", "option 'b_range' must fall and stay above 0")
    if "learning_rate" in said.values:
        options["learning_rate"] = _rate(said, _ADAROUND_STEP / ADAROUND_RATE)
    if "layers" in said.values and not selected(said, layers).everything:
        options["layers"] = list(weighted(layers, selected(said, layers)))
    return [_trained(said, "adaround", options, lambda step: step.use == "adaround")]


def _trained(
    said: Said, use: str, options: Mapping[str, Any], is_it: Callable[[Step], bool]
) -> Effect:
    """Return the effect of a training step that is asked for, taken out, or as the level says."""
    policy = said.values.get("policy", "allowed")

    def change(draft: Draft) -> Draft:
        held = next((step for step in draft.steps if is_it(step)), None)
        if policy == "disabled":
            steps = tuple(step for step in draft.steps if step is not held)
            return Draft(steps, draft.clips, draft.every)
        if held is not None:
            return draft.changed(held, Step(use, {**held.options, **options}))
        if policy == "allowed":
            return draft
        draft = draft.without("gptq") if use == "adaround" else draft
        return draft.add(Step(use, {**defaults_of(use), **options}))

    if policy == "disabled":
        return Effect(f"no step {use}", change)
    behind = " if the level has it" if policy == "allowed" else ""
    return Effect(f"step {Step(use, options)}{behind}", change)


def _changed(use: str, options: Mapping[str, Any]) -> Effect:
    def change(draft: Draft) -> Draft:
        return draft.with_options(use, options) if draft.find(use) else draft

    return Effect(f"step {Step(use, options)} if the level has it", change)


def _is_encoding(step: Step) -> bool:
    return step.use == "qft" and step.options.get("train") == SCALES


def _is_finetuning(step: Step) -> bool:
    return step.use == "qft" and not _is_encoding(step)


def _without_encoding(draft: Draft) -> Draft:
    kept = tuple(step for step in draft.steps if not _is_encoding(step))
    return Draft(kept, draft.clips, draft.every)


def _common(said: Said) -> dict[str, Any]:
    """Return what all training steps have."""
    for key in ("dataset_size", "epochs", "batch_size"):
        within(said, key, 1, _INFINITE)
    within(said, "learning_rate", 0, _INFINITE, open_low=True)
    keys = ("epochs", "dataset_size", "batch_size")
    return {key: said.values[key] for key in keys if key in said.values}


def _rate(said: Said, factor: float) -> float:
    return float(f"{factor * said.values['learning_rate']:.9g}")


def _tuning(said: Said, layers: Layers) -> dict[str, Any]:
    options = _common(said)
    within(said, "warmup_epochs", 0, _INFINITE)
    within(said, "val_images", 0, _INFINITE)
    options |= {k: said.values[k] for k in ("warmup_epochs", "val_images") if k in said.values}
    if "learning_rate" in said.values:
        options["learning_rate"] = _rate(said, _QFT_RATE / FINETUNE_RATE)
    options |= _loss(said, layers)
    if "layers_to_freeze" in said.values:
        frozen = weighted(layers, selected(said, layers, "layers_to_freeze"), "layers_to_freeze")
        every = weighted(layers, select(layers, EVERYTHING, "layers_to_freeze"))
        options["layers"] = list(without(every, frozen))
    return options


def _loss(said: Said, layers: Layers) -> dict[str, Any]:
    """Return which tensors are compared, and how.

    Raises:
        UnfitError: losses differ, are not known, or do not fit the layers.
    """
    options: dict[str, Any] = {}
    if "def_loss_type" in said.values:
        options["loss_type"] = said.values["def_loss_type"]
    if "loss_types" in said.values:
        options["loss_type"] = _one_loss(said)
    if "loss_layer_names" in said.values:
        options["loss_layer_names"] = list(_compared(said, layers))
    if "loss_factors" in said.values:
        need(said, "loss_layer_names")
        options["loss_factors"] = list(said.values["loss_factors"])
    count = len(said.values.get("loss_layer_names", ()))
    for key in ("loss_types", "loss_factors"):
        given = len(said.values.get(key, ()))
        if count and given not in (0, count):
            raise UnfitError(key, f"{key} holds {given} values, and {count} layers are named")
    return options


def _one_loss(said: Said) -> str:
    types = set(said.values["loss_types"])
    wrong = sorted(types - set(_LOSSES))
    if wrong:
        raise UnfitError(
            "loss_types", f"there is no loss '{wrong[0]}' here", f"Known: {', '.join(_LOSSES)}."
        )
    if len(types) != 1:
        raise UnfitError("loss_types", "all layers have the same loss here", "Take l2rel for all.")
    return str(types.pop())


def _compared(said: Said, layers: Layers) -> Sequence[str]:
    """Return the nodes of layers that are compared, in the order of the script."""
    names: list[str] = []
    for each in said.values["loss_layer_names"]:
        value: Value = Word(each)
        found = select(layers, value, "loss_layer_names")
        names += [*found.nodes, *found.ports]
    return names
