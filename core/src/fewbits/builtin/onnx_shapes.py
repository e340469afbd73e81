"""Shapes of a graph: of its inputs as the user gives them, of the rest by inference."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import onnx
import onnx_ir as ir

from fewbits.errors import ModelError, nearest
from fewbits.runtime import Session

BATCH = "N"
_SMALL = 1024  # bytes; constants up to this size may decide shapes and travel along
T = TypeVar("T")
Asked = Mapping[str, Sequence[int]] | Sequence[int] | None


def through_onnx(network: ir.Model, function: Callable[[onnx.ModelProto], T]) -> T:
    """Call a function of the onnx package on the graph without its large weights.

    They go as inputs of the same shape, so that nothing is copied and no 2 GB limit is met.
    """
    light = network.clone()
    for name, value in list(light.graph.initializers.items()):
        if value.const_value is not None and value.const_value.nbytes > _SMALL:
            del light.graph.initializers[name]
            light.graph.inputs.append(value)
    return function(ir.to_proto(light))


def check_graph(network: ir.Model) -> None:
    """Raise ModelError when a node has attributes or inputs that its op does not know."""
    try:
        through_onnx(network, _check)
    except onnx.checker.ValidationError as error:
        raise ModelError(
            f"The network is no valid ONNX: {_short(error)}", hint="Export the network again."
        ) from error


def _check(proto: onnx.ModelProto) -> None:
    """Check a graph; outputs need no shape yet, which the checker would ask for."""
    for output in proto.graph.output:
        tensor = output.type.tensor_type
        tensor.shape.SetInParent()
        tensor.elem_type = tensor.elem_type or onnx.TensorProto.FLOAT
    onnx.checker.check_model(proto)


def check_shapes(network: ir.Model) -> None:
    """Raise ModelError, naming the node, when the network's shapes contradict each other.

    onnx's own inference fails on a few sound ops (MeanVarianceNormalization), so ONNX Runtime
    has the last word.
    """
    _forget_shapes(network.graph)
    try:
        through_onnx(network, partial(_infer, strict=True))
    except Exception as error:  # onnx raises InferenceError, RuntimeError, …
        if not _runs(network):
            raise ModelError(
                f"The network's shapes do not fit together: {_short(error)}",
                hint="Check the input's shape (--input-shape), or export the network again.",
            ) from error


def infer_shapes(network: ir.Model) -> None:
    """Infer every tensor's shape and type afresh, from the inputs on; in place."""
    _forget_shapes(network.graph)
    inferred = through_onnx(network, partial(_infer, strict=False))
    known = {v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output)}
    for node in network.graph:
        for value in node.outputs:
            if value.name in known:
                _take_type(value, known[value.name])


def inferred_at(network: ir.Model, size: int) -> ir.Model:
    """Return a copy with shapes inferred for `size` samples; weights are shared."""
    twin = network.clone()
    for value in twin.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape([size if d == BATCH else d for d in value.shape])
    infer_shapes(twin)
    return twin


def _infer(proto: onnx.ModelProto, *, strict: bool) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(
        proto, check_type=strict, strict_mode=strict, data_prop=True
    )


def _runs(network: ir.Model) -> bool:
    try:
        Session(network)
    except Exception:  # ONNX Runtime's own exceptions derive from Exception alone
        return False
    return True


def _take_type(value: ir.Value, info: onnx.ValueInfoProto) -> None:
    read = ir.serde.deserialize_value_info_proto(info, None)
    value.shape, value.type = read.shape, read.type


def _forget_shapes(graph: ir.Graph) -> None:
    for node in graph:
        for value in node.outputs:
            value.shape = None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


def set_input_shapes(network: ir.Model, asked: Asked) -> None:
    """Give each input its shape: the batch becomes `N` where it is free, the rest is fixed.

    Args:
        network: changed in place.
        asked: input name → shape, or one shape for the only input; with or without the batch.

    Raises:
        ModelError: an input's shape stays open, contradicts the file's, or is of another rank.
    """
    for name in set_known_shapes(network, asked):
        known = (str(value.name) for value in network.graph.inputs)
        raise ModelError(
            f"--input-shape: the network has no input '{name}'.", hint=nearest(name, known)
        )
    for value in network.graph.inputs:
        if value.shape is None or None in _dims(value)[1:]:
            raise _dynamic(value)


def set_known_shapes(network: ir.Model, asked: Asked) -> Mapping[str, Sequence[int]]:
    """Give inputs the shapes asked for, and return those of names that are no inputs.

    Before `--start-node-names` cut, the asked shapes may be of inputs still to come, and inputs
    may stay open that will go.
    """
    inputs = {str(value.name): value for value in network.graph.inputs}
    shapes = _by_name(asked, tuple(inputs))
    for name, value in inputs.items():
        if name in shapes:
            value.shape = _merged(value, tuple(shapes[name]))
        if value.shape is not None and len(value.shape):
            value.shape = ir.Shape([_dims(value)[0] or BATCH, *list(value.shape)[1:]])
    return {name: shape for name, shape in shapes.items() if name not in inputs}


def _by_name(asked: Asked, names: tuple[str, ...]) -> Mapping[str, Sequence[int]]:
    if not asked:
        return {}
    if isinstance(asked, Mapping):
        return asked
    if len(names) != 1:
        raise ModelError(
            f"--input-shape: one shape was given, and the network has {len(names)} inputs.",
            hint=f"Say which input is meant: {', '.join(names)}.",
        )
    return {names[0]: asked}


def _merged(value: ir.Value, asked: tuple[int, ...]) -> ir.Shape:
    """Put the asked dimensions in the place of the free ones."""
    dims = _dims(value) if value.shape is not None else (None,) * len(asked)
    full = (None, *asked) if len(asked) == len(dims) - 1 else asked
    if len(full) != len(dims):
        raise ModelError(
            f"--input-shape: input '{value.name}' has {len(dims)} dimensions "
            f"({_text(dims)}), {len(asked)} were given.",
            hint="Give all of them, or all but the batch.",
        )
    if any(d is None or d < 1 for d in full[1:]):
        raise ModelError(
            f"--input-shape: input '{value.name}' cannot be {_text(full)}.",
            hint="Every dimension is at least 1.",
        )
    free = full[0] is None or full[0] < 1
    for old, new in zip(dims, (dims[0] if free else full[0], *full[1:]), strict=True):
        if old is not None and old != new:
            raise ModelError(
                f"--input-shape: input '{value.name}' is {_text(dims)} in the file and cannot "
                f"become {_text(full)}.",
                hint="Only dimensions that the file leaves open can be given.",
            )
    return ir.Shape([dims[0], *full[1:]])


def _dynamic(value: ir.Value) -> ModelError:
    """Return the error for an input whose shape is still open."""
    dims = _dims(value) if value.shape is not None else (None, 3, None, None)
    known = _text(dims) if value.shape is not None else "unknown"
    example = "x".join(str(d or 224) for d in dims[1:])
    return ModelError(
        f"Input '{value.name}' has a dynamic shape ({known}).",
        hint=f"Fix it, the batch left out: --input-shape {value.name}={example} for instance.",
    )


def _dims(value: ir.Value) -> tuple[int | None, ...]:
    """Return the dimensions; None where the file leaves one open (a name, '?', -1, nothing)."""
    assert value.shape is not None
    return tuple(d if isinstance(d, int) and d > 0 else None for d in value.shape)


def _text(dims: Sequence[int | None]) -> str:
    return "×".join("?" if d is None else str(d) for d in dims) or "scalar"
