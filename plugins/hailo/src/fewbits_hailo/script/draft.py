"""A recipe in the making: where a script's steps go, and what they do to those of a level."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fewbits.levels import level
from fewbits.recipe import Recipe, Step

QUANTIZERS = ("quantize", "uniform", "mixed_precision")
EDITS = ("normalization", "input_conversion", "resize", "input_layout")
SCALES = ["weight_scales", "activation_scales", "factors"]
#: steps in the order in which they belong; edits keep the order of the script, and come first,
#: since they settle what samples the network takes.
_ORDER = (
    EDITS,
    ("output_activation", "logits"),
    ("hailo_script",),
    ("global_avgpool_reduction",),
    ("static_channels",),
    ("dead_channels",),
    ("tse",),
    ("equalization",),
    ("weight_clipping",),
    ("activation_clipping",),
    QUANTIZERS,
    ("gptq",),
    ("adaround",),
    ("ibc",),
    ("qft",),
)
_RANK = {use: rank for rank, uses in enumerate(_ORDER) for use in uses}
#: options that `uniform` has not.
_MIXED = ("ratio_4bit", "ratio_16bit", "size", "bits", "min_snr", "max_drop", "metric", "optimizer")
_MIXED_ONLY = frozenset({*_MIXED, "dataset_size", "label_offset", "plot"})


class NoPlaceError(Exception):
    """A change has no place in the recipe; `hint` says the remedy."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Clip:
    """How one layer is clipped.

    Args:
        mode: as the clipping steps have it.
        values: lower and upper end.
    """

    mode: str
    values: tuple[float, float]


Clips = Mapping[str, Clip]


@dataclass(frozen=True)
class Draft:
    """Steps, and clippings that become steps at the end.

    Args:
        steps: in their order.
        clips: step → layer → how it is clipped; `*` stands for every other layer.
        every: names of the layers with weights.
    """

    steps: tuple[Step, ...]
    clips: Mapping[str, Clips] = field(default_factory=dict)
    every: tuple[str, ...] = ()

    def find(self, *uses: str) -> Step | None:
        """Return the first step that is one of these."""
        return next((step for step in self.steps if step.use in uses), None)

    def add(self, step: Step) -> "Draft":
        """Return the draft with a step more, where steps of its kind belong."""
        rank, place = _RANK[step.use], len(self.steps)
        for index, each in enumerate(self.steps):
            if _RANK.get(each.use, -1) > rank:
                place = index
                break
        return replace(self, steps=(*self.steps[:place], step, *self.steps[place:]))

    def without(self, use: str) -> "Draft":
        """Return the draft without any step of that name."""
        return replace(self, steps=tuple(step for step in self.steps if step.use != use))

    def changed(self, old: Step, new: Step) -> "Draft":
        """Return the draft with one step in the place of another."""
        return replace(self, steps=tuple(new if step is old else step for step in self.steps))

    def with_options(self, use: str, options: Mapping[str, Any]) -> "Draft":
        """Return the draft with options of a step changed; the step is added if it is missing."""
        held = self.find(use)
        if held is None:
            return self.add(Step(use, options))
        return self.changed(held, Step(use, {**held.options, **options}))

    def quantizer(self, **options: Any) -> "Draft":
        """Return the draft with options of its quantizer changed; maps grow.

        Raises:
            NoPlaceError: there is no quantizer.
        """
        held = self.held_quantizer()
        merged = dict(held.options)
        for key, value in options.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
        return self.changed(held, Step(held.use, merged))

    def held_quantizer(self) -> Step:
        """Return the quantizer.

        Raises:
            NoPlaceError: there is none.
        """
        held = self.find(*QUANTIZERS)
        if held is None:
            raise NoPlaceError(
                "the steps hold no quantizer that it could change", "Add quantize to the steps."
            )
        return held

    def with_shares(self, **options: Any) -> "Draft":
        """Return the draft with bits chosen by `mixed_precision`, or by nobody where all is 0.

        GPTQ goes with 4 bits as it does in the levels.
        """
        held = self.held_quantizer()
        now = {**{k: v for k, v in held.options.items() if k in _MIXED_ONLY}, **options}
        rest = {key: value for key, value in held.options.items() if key not in _MIXED_ONLY}
        four, wide = now.get("ratio_4bit"), now.get("ratio_16bit", 0)
        if four == 1:
            return self.changed(held, Step("quantize", {**rest, "precision": "a8_w4"}))
        if not four and not wide:
            return self.changed(held, Step("quantize", {**rest, "precision": "a8_w8"}))
        rest |= {"precision": "a8_w8"} if rest.get("precision") == "a8_w4" else {}
        return self.changed(held, Step("mixed_precision", {**rest, **now}))

    def clipped(self, use: str, layers: Sequence[str], clip: Clip) -> "Draft":
        """Return the draft with layers clipped in this way, whatever lines before said."""
        held = {} if "*" in layers else dict(self.clips.get(use, {}))
        return replace(self, clips={**self.clips, use: held | dict.fromkeys(layers, clip)})

    @property
    def has_four_bits(self) -> bool:
        """Whether some weights will have 4 bits."""
        held = self.held_quantizer().options
        named = [str(mode) for mode in dict(held.get("layers", {})).values()]
        modes = [str(held.get("precision", "a8_w8")), *named]
        return bool(held.get("ratio_4bit")) or any(mode.endswith("_w4") for mode in modes)


Change = Callable[[Draft], Draft]


@dataclass(frozen=True)
class Effect:
    """What a line does to the recipe.

    Args:
        text: what it does, as people read it.
        change: does it.
        late: whether it waits for all lines, as it looks at what they came to.
    """

    text: str
    change: Change
    late: bool = False


def adding(use: str, options: Mapping[str, Any], text: str = "") -> Effect:
    """Return the effect of one step more."""
    step = Step(use, options)
    return Effect(text or f"step {step}", lambda draft: draft.add(step))


def finished(draft: Draft, level_of: Mapping[str, Any]) -> Recipe:
    """Return the recipe: clippings become steps, and training learns what it is to round."""
    for use, clips in draft.clips.items():
        draft = _clipped(draft.without(use), use, clips)
    held = draft.find("adaround")
    if held is not None and "mode" not in held.options:
        mode = "train_4bit" if draft.has_four_bits else "train_all"
        draft = draft.changed(held, Step("adaround", {**held.options, "mode": mode}))
    return Recipe(draft.steps, level=level_of)


def _clipped(draft: Draft, use: str, clips: Clips) -> Draft:
    groups: dict[Clip, list[str]] = {}
    for layer, clip in clips.items():
        groups.setdefault(clip, []).append(layer)
    for clip, layers in groups.items():
        if clip.mode != "disabled":
            names = _spread(layers, clips, draft.every)
            options = {"layers": names, "mode": clip.mode, "clipping_values": list(clip.values)}
            draft = draft.add(Step(use, options))
    return draft


def _spread(layers: list[str], clips: Clips, every: tuple[str, ...]) -> list[str]:
    """Return the layers of a group, where `*` stands for those that no other line names."""
    if "*" not in layers or len(clips) == 1:
        return layers
    return [name for name in every if name not in clips or name in layers]


def defaults_of(use: str) -> Mapping[str, Any]:
    """Return the options that the levels give a training step: how long, on how many images."""
    number = {"qft": 2, "adaround": 4}[use]
    step = next(step for step in level(number).steps if step.use == use)
    return {key: value for key, value in step.options.items() if key != "mode"}
