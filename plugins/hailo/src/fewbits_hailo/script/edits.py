"""Commands that edit the network's ends."""

from collections.abc import Sequence
from typing import Any

from fewbits_hailo.script.draft import Effect, adding
from fewbits_hailo.script.handling import need, selected
from fewbits_hailo.script.said import Said, UnfitError
from fewbits_hailo.script.selecting import Layers
from fewbits_hailo.script.table.edits import COLOURS

_CALLED = {"swish": "silu"}


def normalization(said: Said, layers: Layers) -> Sequence[Effect]:
    """`(x − mean) / std` moves into the network, for one input or for all."""
    need(said, "mean", "std")
    mean, std = (list(said.values[key]) for key in ("mean", "std"))
    if 0.0 in std:
        raise UnfitError("std", "option 'std' holds 0, and it divides", "Write 1 for no change.")
    options: dict[str, Any] = {"mean": mean, "std": std}
    model = layers.model
    plain = model is not None and model.preprocess is not None and _is_plain(model.preprocess)
    if plain:  # samples are raw numbers already, as Hailo's tools want them
        options["data"] = "raw"
    return [adding("normalization", options | at) for at in _inputs(said, layers)]


def input_conversion(said: Said, layers: Layers) -> Sequence[Effect]:
    """Colours are computed in the network; forms of cameras, too, where the script says so."""
    need(said, "conversion")
    return _converted(said, layers, said.values["conversion"]) if is_inside(said) else []


def is_inside(said: Said) -> bool:
    """Whether the network, and not only the device in front of it, does the conversion."""
    kind = said.values.get("conversion", said.statement.command)
    return kind in COLOURS or bool(said.values.get("emulator_support"))


def colours(said: Said, layers: Layers) -> Sequence[Effect]:
    """A conversion that is a command by itself."""
    return _converted(said, layers, said.statement.command)


def _converted(said: Said, layers: Layers, kind: str) -> Sequence[Effect]:
    options = {"kind": kind, "emulator_support": True}
    return [adding("input_conversion", options | at) for at in _inputs(said, layers)]


def resize(said: Said, layers: Layers) -> Sequence[Effect]:
    """Pictures come in at another size."""
    need(said, "resize_shapes")
    height, width = said.values["resize_shapes"]
    options: dict[str, Any] = {"height": height, "width": width}
    if "resize_method" in said.values:
        options["method"] = said.values["resize_method"].removesuffix("_neighbor")
    if "pixels_mode" in said.values:
        modes = {"disabled": "half_pixel", "half_pixels": "half_pixel"}
        options["pixels"] = modes.get(said.values["pixels_mode"], said.values["pixels_mode"])
    return [adding("resize", options | at) for at in _inputs(said, layers)]


def change_output_activation(said: Said, layers: Layers) -> Sequence[Effect]:
    """Another activation at outputs, or none."""
    need(said, "activation")
    activation = said.values["activation"]
    options = {"activation": _CALLED.get(activation, activation)}
    return [adding("output_activation", options | _outputs(said, layers))]


def logits_layer(said: Said, layers: Layers) -> Sequence[Effect]:
    """Softmax or argmax at outputs."""
    need(said, "kind")
    where = _outputs(said, layers)
    options: dict[str, Any] = {"kind": said.values["kind"]}
    if "axis" in said.values:
        options["axis"] = _axis(said.values["axis"], layers)
    return [adding("logits", options | where)]


def _is_plain(preprocess: Any) -> bool:
    return not any(preprocess.mean) and all(number == 1.0 for number in preprocess.std)


def _inputs(said: Said, layers: Layers) -> list[dict[str, str]]:
    """Return the option `input` for each input that is meant."""
    names = () if layers.model is None else layers.model.input_names
    if "layer" not in said.values:
        return [{"input": name} for name in names] if len(names) > 1 else [{}]
    selection = selected(said, layers, "layer")
    chosen = [name for name in names if name in selection.ports]
    if layers.model is not None and not chosen:
        known = ", ".join(f"input_layer{i}" for i in range(1, len(names) + 1))
        raise UnfitError("layer", f"'{selection.said}' is no input", f"Inputs: {known}.")
    return [{"input": name} for name in chosen] if len(names) > 1 else [{}]


def _outputs(said: Said, layers: Layers) -> dict[str, list[str]]:
    """Return the option `layers` for the outputs that are meant; none for all."""
    if "layer" not in said.values:
        return {}
    selection = selected(said, layers, "layer")
    return {} if selection.everything else {"layers": [*selection.nodes, *selection.ports]}


def _axis(axis: int, layers: Layers) -> int:
    """Return an axis of `(N, …, C)` as one of `(N, C, …)`.

    Raises:
        UnfitError: the outputs have no such axis.
    """
    outputs = [] if layers.model is None else list(layers.model.graph.outputs)
    rank = max((len(value.shape) for value in outputs if value.shape is not None), default=4)
    order: list[int] = [0, *range(2, rank), 1]
    if not -rank <= axis < rank:
        raise UnfitError("axis", f"option 'axis' is {axis}, and the outputs have {rank} axes")
    return order[axis]
