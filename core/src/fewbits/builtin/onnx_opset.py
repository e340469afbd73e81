"""Bring a graph to the one opset that the rest of fewbits sees."""

import onnx
import onnx.version_converter
import onnx_ir as ir

from fewbits.builtin.onnx_checks import name_of
from fewbits.builtin.onnx_shapes import through_onnx
from fewbits.errors import ModelError

#: The first opset whose QuantizeLinear writes 4 and 16 bits; ONNX Runtime fuses all of its ops.
OPSET = 21
IR_VERSION = 10
OLDEST = 7


def convert_opset(network: ir.Model) -> ir.Model:
    """Return the network at `OPSET`; older ones are upgraded by onnx's version converter.

    Newer opsets differ from it in new types, ops and attributes only: such a graph is taken
    as it is when each of its nodes can be said in `OPSET`.

    Raises:
        ModelError: a node cannot be said in `OPSET`, or the converter fails on it.
    """
    version = network.opset_imports[""]
    network.graph.opset_imports.clear()  # other domains are not used any more
    network.graph.opset_imports[""] = version
    if version < OPSET:
        network = _upgrade(network)
    elif version > OPSET:
        for node in network.graph:
            _check_expressible(node, version)
    network.graph.opset_imports[""] = OPSET
    network.ir_version = IR_VERSION
    return network


def _upgrade(network: ir.Model) -> ir.Model:
    network.ir_version = max(network.ir_version, 4)  # initializers need not be inputs
    try:
        proto = through_onnx(
            network, lambda proto: onnx.version_converter.convert_version(proto, OPSET)
        )
    except Exception as error:  # the converter raises RuntimeError and ConvertError
        raise ModelError(
            f"The network cannot be upgraded from opset {network.opset_imports['']}: "
            f"{' '.join(str(error).split())[:300]}",
            hint="Export it with opset_version=17, or cut the node off with --end-node-names.",
        ) from error
    return _with_weights(ir.serde.deserialize_model(proto), network)


def _with_weights(converted: ir.Model, original: ir.Model) -> ir.Model:
    """Put the weights back that travelled as inputs."""
    weights = original.graph.initializers
    inputs = list(converted.graph.inputs)
    converted.graph.inputs.clear()
    converted.graph.inputs.extend(v for v in inputs if v.name not in weights)
    for value in inputs:
        if value.name in weights:
            value.const_value = weights[str(value.name)].const_value
            converted.graph.register_initializer(value)
    return converted


def _check_expressible(node: ir.Node, version: int) -> None:
    """Raise ModelError if the op, or an attribute set on it, is newer than `OPSET`."""
    if not onnx.defs.has(node.op_type, max_inclusive_version=OPSET):
        raise ModelError(
            f"Op {node.op_type} of {name_of(node)} is newer than opset {OPSET}.",
            hint=f"Export the network with opset_version={OPSET}, or cut the node off "
            "with --end-node-names.",
        )
    old = onnx.defs.get_schema(node.op_type, OPSET)
    new = onnx.defs.get_schema(node.op_type, version)
    for key in set(node.attributes) - set(old.attributes):
        default = new.attributes[key].default_value if key in new.attributes else None
        if default is None or not default.name or ir.from_proto(default) != node.attributes[key]:
            raise ModelError(
                f"Attribute {key} of {name_of(node)} ({node.op_type}) is newer than opset {OPSET}.",
                hint=f"Export the network with opset_version={OPSET}.",
            )
        del node.attributes[key]
