"""One stage of a model as plain parts, and back.

    model.onnx            the graph; its weights are external data in the file beside it
    weights.safetensors   the weights, by initializer name
    encodings.json        bits, sign, axis of every encoding; precision modes; shapes of masks
    arrays.safetensors    `scale/NAME`, `zero_point/NAME`, `mask/NAME` (packed bits)
    preprocess.json       how pictures become inputs, where that was said

The first two are an ONNX model with external data as any other tool reads it. Equal models
give equal bytes, and what is read gives the bytes that were read.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import onnx
import onnx_ir as ir
import safetensors.numpy
from numpy.typing import NDArray

from fewbits.container import DAMAGED, to_json
from fewbits.errors import ArchiveError
from fewbits.model import Encoding, Model, Precision, Stage
from fewbits.outline import PREPROCESS
from fewbits.preprocess import Preprocess

GRAPH = "model.onnx"
WEIGHTS = "weights.safetensors"
ENCODINGS = "encodings.json"
ARRAYS = "arrays.safetensors"
_INLINE_BYTES = 1024
_KEPT_INLINE = "iub"
_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_DTYPES = frozenset({"float64", "float32", "float16", "bool", *_INTEGERS})

ValueT = TypeVar("ValueT")


def to_parts(model: Model) -> dict[str, bytes]:
    """Return the model's content, without its stage, name, history and ancestors, part by part."""
    model = in_order(model)
    weights = _weights(model.graph)
    packed = safetensors.numpy.save(weights)
    described, arrays = _encodings(model)
    parts = {
        GRAPH: _graph(model.network, weights, packed),
        WEIGHTS: packed,
        ENCODINGS: to_json(described),
        ARRAYS: safetensors.numpy.save(arrays),
    }
    if model.preprocess is not None:
        parts[PREPROCESS] = to_json(model.preprocess.model_dump(mode="json"))
    return parts


def from_parts(parts: Mapping[str, bytes], *, name: str, stage: Stage) -> Model:
    """Return the model whose content `to_parts` gave; its arrays are read-only.

    Raises:
        ArchiveError: the parts do not fit together, or point outside the archive.
        Exception: whatever a parser raises on bytes that are none of its own.
    """
    weights = {k: _frozen(v) for k, v in safetensors.numpy.load(parts[WEIGHTS]).items()}
    network = ir.from_proto(onnx.ModelProto.FromString(parts[GRAPH]))
    _attach(network, weights)
    described = json.loads(parts[ENCODINGS])
    arrays = {k: _frozen(v) for k, v in safetensors.numpy.load(parts[ARRAYS]).items()}
    said = parts.get(PREPROCESS)
    return Model(
        name=name,
        network=network,
        stage=stage,
        encodings={k: _encoding(k, v, arrays) for k, v in described["encodings"].items()},
        precisions={k: Precision.parse(v) for k, v in described["precisions"].items()},
        masks={k: _unpack(arrays[f"mask/{k}"], v) for k, v in described["masks"].items()},
        preprocess=None if said is None else Preprocess.model_validate(json.loads(said)),
    )


def in_order(model: Model) -> Model:
    """Return the model with encodings, precisions and masks in the order of the network.

    Mappings that are equal then also read, print and compile the same, however they were built.
    """
    nodes = [str(node.name) for node in model.graph]
    made = [str(value.name) for node in model.graph for value in node.outputs]
    values = [*model.input_names, *model.graph.initializers, *made]
    return model.replace(
        encodings=_sorted(model.encodings, values),
        precisions=_sorted(model.precisions, nodes),
        masks=_sorted(model.masks, values),
    )


def _sorted(mapping: Mapping[str, ValueT], names: list[str]) -> dict[str, ValueT]:
    place = {name: index for index, name in enumerate(names)}
    order = sorted(mapping, key=lambda name: (place.get(name, len(names)), name))
    return {name: mapping[name] for name in order}


def freeze(network: ir.Model) -> None:
    """Make the arrays of the main graph's initializers read-only."""
    for value in network.graph.initializers.values():
        if isinstance(value.const_value, ir.Tensor) and isinstance(
            array := value.const_value.raw, np.ndarray
        ):
            array.flags.writeable = False


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _weights(graph: ir.Graph) -> dict[str, NDArray[Any]]:
    """Return the arrays that leave the graph: floats, and whatever is larger than 1 KiB."""
    weights = {}
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING:
            continue
        array = np.asarray(tensor.numpy(), order="C")
        if array.size and array.dtype.name in _DTYPES and _leaves(array):
            weights[name] = array
    return weights


def _leaves(array: NDArray[Any]) -> bool:
    return array.dtype.kind not in _KEPT_INLINE or array.nbytes > _INLINE_BYTES


def _graph(network: ir.Model, weights: Mapping[str, NDArray[Any]], packed: bytes) -> bytes:
    header = int.from_bytes(packed[:8], "little")
    places = json.loads(packed[8 : 8 + header])
    copy = network.clone()
    for name, value in copy.graph.initializers.items():
        if name in weights:
            start, stop = (8 + header + end for end in places[name]["data_offsets"])
            value.const_value = _elsewhere(name, weights[name], start, stop)
        elif value.const_value is not None and value.const_value.dtype != ir.DataType.STRING:
            tensor = value.const_value
            value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=name)
    proto = ir.to_proto(copy)
    _drop_redundant_shapes(proto.graph)
    return bytes(proto.SerializeToString(deterministic=True))


def _elsewhere(name: str, array: NDArray[Any], start: int, stop: int) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        WEIGHTS,
        start,
        stop - start,
        ir.DataType.from_numpy(array.dtype),
        shape=ir.Shape(array.shape),
        name=name,
    )


def _drop_redundant_shapes(graph: onnx.GraphProto) -> None:
    """Leave out shapes of initializers: onnx-ir adds them on reading, so bytes would change."""
    constants = {tensor.name for tensor in graph.initializer}
    kept = [info for info in graph.value_info if info.name not in constants]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _encodings(model: Model) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    arrays: dict[str, NDArray[Any]] = {}
    for name, encoding in model.encodings.items():
        arrays[f"scale/{name}"] = np.array(encoding.scale, np.float32, order="C")
        arrays[f"zero_point/{name}"] = np.array(encoding.zero_point, np.int64, order="C")
    for name, mask in model.masks.items():
        arrays[f"mask/{name}"] = np.packbits(np.asarray(mask, np.bool_))
    described = {
        "encodings": {
            name: {"bits": e.bits, "signed": e.signed, "axis": e.axis, "narrow": e.narrow}
            for name, e in model.encodings.items()
        },
        "precisions": {name: str(mode) for name, mode in model.precisions.items()},
        "masks": {name: list(mask.shape) for name, mask in model.masks.items()},
    }
    return described, arrays


def _encoding(name: str, said: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Encoding:
    scale, zero_point = arrays[f"scale/{name}"], arrays[f"zero_point/{name}"]
    fits = scale.dtype == np.float32 and zero_point.dtype == np.int64
    if not fits or scale.shape != zero_point.shape or not 2 <= said["bits"] <= 48:
        raise ArchiveError(f"The encoding of '{name}' does not fit its arrays.", hint=DAMAGED)
    return Encoding(
        int(said["bits"]),
        bool(said["signed"]),
        scale,
        zero_point,
        None if said["axis"] is None else int(said["axis"]),
        bool(said["narrow"]),
    )


def _unpack(packed: NDArray[Any], shape: list[int]) -> NDArray[np.bool_]:
    count = int(np.prod(shape, dtype=np.int64))
    if packed.dtype != np.uint8 or packed.size != (count + 7) // 8:
        raise ArchiveError("A mask does not fit its array.", hint=DAMAGED)
    mask: NDArray[np.bool_] = np.unpackbits(packed, count=count).astype(np.bool_).reshape(shape)
    return _frozen(mask)


def _attach(network: ir.Model, weights: Mapping[str, NDArray[Any]]) -> None:
    """Put the weights in place; refuse whatever else lies outside the graph."""
    homeless = set(weights)
    for name, value in network.graph.initializers.items():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            value.const_value = _unpacked(tensor, name)
            continue
        homeless.discard(name)
        array = weights.get(name)
        if array is None or tensor.location != WEIGHTS or not _same_kind(tensor, array):
            raise ArchiveError(f"Weight '{name}' does not fit the graph.", hint=DAMAGED)
        value.const_value = ir.Tensor(array, name=name)
    if homeless:
        raise ArchiveError(f"Weight '{min(homeless)}' has no place in the graph.", hint=DAMAGED)
    for tensor in _tensors(network):
        if isinstance(tensor, ir.ExternalTensor):
            raise ArchiveError(f"'{tensor.name}' points outside the archive.", hint=DAMAGED)


def _unpacked(tensor: Any, name: str) -> Any:
    """Return a constant that lies in the graph as an array; fails if its bytes do not fit."""
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return tensor
    array = np.array(tensor.numpy())
    return ir.Tensor(_frozen(array), dtype=tensor.dtype, name=name)


def _same_kind(tensor: ir.ExternalTensor, array: NDArray[Any]) -> bool:
    return tensor.dtype.numpy() == array.dtype and tuple(tensor.shape) == array.shape


def _tensors(network: ir.Model) -> Iterator[Any]:
    """Yield every constant of the main graph, of subgraphs and of functions."""
    for graph in network.graphs():
        yield from (value.const_value for value in graph.initializers.values())
    bodies: list[ir.Graph | ir.Function] = [network.graph, *network.functions.values()]
    for node in (n for body in bodies for n in ir.traversal.RecursiveGraphIterator(body)):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR:
                yield attribute.value
            elif attribute.type == ir.AttributeType.TENSORS:
                yield from attribute.value
