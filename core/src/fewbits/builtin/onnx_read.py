"""From a file to an `onnx_ir.Model`, with a clear word for files that are none."""

from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from fewbits.errors import ModelError

_EXPORT = "Export the network as ONNX again, or check that the file was copied whole."


def read_network(path: Path) -> ir.Model:
    """Read an ONNX file, with the weights that lie in files beside it.

    Raises:
        ModelError: nothing there, empty, no ONNX, truncated, or external weights are missing.
    """
    data = _bytes(path)
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{path} is no ONNX file, or it is truncated ({len(data)} bytes cannot be decoded).",
            hint=_EXPORT,
        ) from error
    _check_whole(proto, path)
    _check_external(proto, path)
    try:
        network = ir.serde.deserialize_model(proto)
    except Exception as error:  # onnx_ir raises many kinds on a malformed graph
        raise ModelError(f"{path} holds a malformed graph: {_root(error)}", hint=_EXPORT) from error
    ir.external_data.set_base_dir(network.graph, path.parent.resolve())
    return ir.external_data.load_to_model(network)


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise ModelError(f"{path} is a folder, not a network.", hint="Name the .onnx file in it.")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"There is no file {path}.", hint="Check the path.") from error
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}.", hint="Check its permissions."
        ) from error
    if not data:
        raise ModelError(f"{path} is empty.", hint=_EXPORT)
    return data


def _check_whole(proto: onnx.ModelProto, path: Path) -> None:
    """Refuse what protobuf can decode but no exporter writes."""
    if not proto.ir_version or not proto.HasField("graph"):
        raise ModelError(f"{path} is no ONNX file, or it is truncated.", hint=_EXPORT)
    if not proto.opset_import:
        raise ModelError(
            f"{path} names no opset: it is truncated or malformed.",
            hint=_EXPORT,
        )
    if not proto.graph.node:
        raise ModelError(f"{path} holds a graph without nodes.", hint=_EXPORT)


def _tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    constants = [a.t for n in proto.graph.node for a in n.attribute if a.HasField("t")]
    return [*proto.graph.initializer, *constants]


def _check_external(proto: onnx.ModelProto, path: Path) -> None:
    for tensor in _tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        info = {entry.key: entry.value for entry in tensor.external_data}
        _check_part(tensor.name, info, path)


def _check_part(name: str, info: dict[str, str], path: Path) -> None:
    """Check that one tensor's bytes lie in a file beside the network."""
    folder = path.parent.resolve()
    part = (folder / info.get("location", "")).resolve()
    if not part.is_relative_to(folder):
        raise ModelError(
            f"{path}: the weights of '{name}' lie outside its folder ({info.get('location')}).",
            hint="Put the weights' file beside the .onnx file and save the network again.",
        )
    if not part.is_file():
        raise ModelError(
            f"{path}: the weights of '{name}' are missing; they should be in {part}.",
            hint=f"Copy {part.name} beside {path.name}.",
        )
    end = int(info.get("offset", 0)) + int(info.get("length", 0))
    if part.stat().st_size < end:
        raise ModelError(
            f"{path}: the weights of '{name}' are cut off: {part} has {part.stat().st_size} "
            f"bytes and {end} are needed.",
            hint=f"Copy {part.name} again.",
        )


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().rstrip(".") + "."
