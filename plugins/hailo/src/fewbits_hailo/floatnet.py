"""The float network that Hailo's compiler is handed, in ONNX that it can read."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.shape_inference
import onnx_ir as ir
from fewbits.errors import TargetError
from fewbits.graph import Layer, constant, layers, readers, set_constant, values_by_name
from fewbits.model import Model, Stage

from fewbits_hailo.opset import OPSET, lower_opset
from fewbits_hailo.weights import clipped, is_kept, is_rounded, spans_grid

_TO_CHANNELS_FIRST = (0, 3, 1, 2)


@dataclass(frozen=True)
class HandedInput:
    """One input of the network that is handed over.

    Args:
        name: its name in the ONNX file.
        source: its name in fewbits' model.
        shape: as the ONNX file has it, batch 1, channels first.
        channels_last: whether fewbits' model takes it with the channels last.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    channels_last: bool = False


@dataclass(frozen=True)
class FloatNetwork:
    """What `float_network` makes.

    Args:
        network: opset 17, batch 1, plain names.
        inputs: in order.
        end_nodes: the nodes that write the outputs, in the outputs' order.
        nodes: node name in fewbits' model → node name in the ONNX file.
        improved: layers that stand on their grid, because a step behind the quantizer moved them.
        loose: those of them whose grid a compiler cannot find again from the largest weight.
    """

    network: ir.Model
    inputs: tuple[HandedInput, ...]
    end_nodes: tuple[str, ...]
    nodes: Mapping[str, str]
    improved: tuple[str, ...]
    loose: tuple[str, ...]


def to_onnx(network: ir.Model) -> bytes:
    """Return the file's bytes, with every shape inferred; the same network gives the same bytes.

    Raises:
        TargetError: ONNX's own checker refuses it.
    """
    proto = ir.to_proto(network)
    try:
        proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise TargetError(
            f"The network cannot be said in opset {OPSET}: {' '.join(str(error).split())[:300]}",
            hint="Cut off what the message names with --end-node-names, and report this.",
        ) from error
    return bytes(proto.SerializeToString(deterministic=True))


def float_network(model: Model) -> FloatNetwork:
    """Return the network to hand over.

    A layer that was only rounded keeps its float weights, cut to the range of their grid, and its
    float bias. One that a later step improved (IBC, GPTQ, AdaRound, QFT) stands on its grid with
    its own bias: what was gained there is gained there only.

    Args:
        model: at stage `quantized`; it is not changed.

    Raises:
        TargetError: the network has no fixed shapes, outputs that share a node, or ops that
            opset 17 cannot say; names the tensor or node.
    """
    held = model.at(Stage.QUANTIZED).copy()
    improved, loose = _settle_weights(held, model)
    inputs = [_settle_input(held.graph, name) for name in held.input_names]
    handed = [values_by_name(held.graph)[each.name] for each in inputs]
    end_nodes = _end_nodes(held.graph)
    lower_opset(held.network)
    _fix_batch(held.graph)
    nodes = _rename(held.graph)
    return FloatNetwork(
        held.network,
        tuple(map(_as_renamed, zip(inputs, handed, strict=True))),
        tuple(nodes[name] for name in end_nodes),
        nodes,
        improved,
        loose,
    )


def _settle_weights(held: Model, model: Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put the float weights back where rounding was all that happened; name the other layers."""
    originals = {layer.name: layer for layer in layers(model.at(Stage.OPTIMIZED).graph)}
    improved, loose = [], []
    for layer in list(layers(held.graph)):
        if str(layer.weight.name) not in held.encodings:
            continue
        if not _restore(layer, originals.get(layer.name), held):
            improved.append(layer.name)
            encoding = held.encodings[str(layer.weight.name)]
            if not spans_grid(np.asarray(constant(layer.weight), np.float32), encoding):
                loose.append(layer.name)
    return tuple(improved), tuple(loose)


def _restore(layer: Layer, original: Layer | None, held: Model) -> bool:
    """Give a layer that was only rounded its float weights again; say whether it was that."""
    if original is None:
        return False
    weight, before = (np.asarray(constant(each.weight), np.float32) for each in (layer, original))
    encoding = held.encodings[str(layer.weight.name)]
    if not is_rounded(weight, before, encoding):
        return False
    if layer.bias is not None and not _restore_bias(layer, original, held):
        return False
    set_constant(layer.weight, clipped(before, encoding))
    return True


def _restore_bias(layer: Layer, original: Layer, held: Model) -> bool:
    assert layer.bias is not None
    bias = np.asarray(constant(layer.bias), np.float32)
    found = constant(original.bias)
    before = np.zeros_like(bias) if found is None else np.asarray(found, np.float32)
    before = np.broadcast_to(before.ravel(), bias.shape)  # a Gemm's may be one number
    encoding = held.encodings.get(str(layer.bias.name))
    if encoding is None or not is_kept(bias, before, encoding):
        return False
    set_constant(layer.bias, before)
    return True


def _settle_input(graph: ir.Graph, name: str) -> HandedInput:
    """Make an input that a Transpose brings to channels first come in that way."""
    value = values_by_name(graph)[name]
    turns = [node for node in readers(value) if _brings_channels_first(node)]
    channels_last = bool(turns) and len(turns) == len(readers(value))
    if channels_last and value.shape is not None:
        value.shape = ir.Shape([value.shape[axis] for axis in _TO_CHANNELS_FIRST])
        for node in turns:
            ir.convenience.replace_all_uses_with(node.outputs[0], value)
            graph.remove(node, safe=True)
    shape = () if value.shape is None else tuple(value.shape)[1:]
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise TargetError(
            f"Input '{name}' has no fixed shape, and Hailo's compiler needs one.",
            hint="Parse the network with --input-shape.",
        )
    return HandedInput(name, name, (1, *(int(size) for size in shape)), channels_last)  # type: ignore[arg-type]


def _brings_channels_first(node: ir.Node) -> bool:
    perm = node.attributes.get("perm")
    if node.op_type != "Transpose" or perm is None or _leaves(node):
        return False
    return tuple(perm.as_ints()) == _TO_CHANNELS_FIRST


def _leaves(node: ir.Node) -> bool:
    return any(value.is_graph_output() for value in node.outputs)


def _end_nodes(graph: ir.Graph) -> list[str]:
    producers = [(str(value.name), value.producer()) for value in graph.outputs]
    seen: list[str] = []
    for name, node in producers:
        if node is None or str(node.name) in seen:
            raise TargetError(
                f"Output '{name}' has no node of its own; Hailo's parser names outputs by node.",
                hint="Choose the outputs with --end-node-names when the network is parsed.",
            )
        seen.append(str(node.name))
    return seen


def _fix_batch(graph: ir.Graph) -> None:
    """Let one sample come in; the shapes behind it are forgotten, to be inferred again."""
    for value in graph.inputs:
        assert value.shape is not None
        value.shape = ir.Shape([1, *value.shape[1:]])
    for value in (v for node in graph for v in node.outputs):
        value.shape = None


def _rename(graph: ir.Graph) -> dict[str, str]:
    """Give every node and tensor a plain name; return old node name → new."""
    values = list(values_by_name(graph).values())
    fresh = plain_names(str(value.name) for value in values)
    for value in values:
        _call(graph, value, fresh[str(value.name)])
    nodes = plain_names(str(node.name) for node in graph)
    for node in graph:
        node.name = nodes[str(node.name)]
    return nodes


def _call(graph: ir.Graph, value: ir.Value, name: str) -> None:
    old = str(value.name)
    if old == name:
        return
    if old in graph.initializers:
        del graph.initializers[old]
        value.name = name
        graph.register_initializer(value)
    else:
        value.name = name


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Return name → name of letters, digits and `_ . / -` alone, no two alike; "" stays.

    >>> plain_names(["a:b", "a_b", "/c"])
    {'a:b': 'a_b_1', 'a_b': 'a_b', '/c': '/c'}
    """
    held = list(dict.fromkeys(names))
    taken = {name for name in held if name == _plain(name)}
    plain = {}
    for name in held:
        fresh, number = _plain(name), 0
        while fresh != name and fresh in taken:
            number += 1
            fresh = f"{_plain(name)}_{number}"
        taken.add(fresh)
        plain[name] = fresh
    return plain


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_./-]", "_", name)


def _as_renamed(pair: tuple[HandedInput, ir.Value]) -> HandedInput:
    handed, value = pair
    return HandedInput(str(value.name), handed.source, handed.shape, handed.channels_last)
