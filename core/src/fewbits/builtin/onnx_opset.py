"""Bring a graph to the one opset that the rest of fewbits sees."""

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir

from fewbits.builtin.onnx_checks import name_of
from fewbits.builtin.onnx_shapes import through_onnx
from fewbits.builtin.onnx_trial import close, random_inputs
from fewbits.errors import ModelError
from fewbits.runtime import Session

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
    changed = sorted({n.op_type for n in network.graph if _means_other(n, network)})
    upgraded = _convert(network)
    _resize_as_before(network, upgraded)
    if changed:
        _check_same(network, upgraded, changed)
    return upgraded


def _means_other(node: ir.Node, network: ir.Model) -> bool:
    """Say whether the op's inputs, attributes or defaults differ between the two opsets."""
    if not onnx.defs.has(node.op_type, max_inclusive_version=OPSET):
        return True
    version = network.opset_imports[""]
    old, new = (onnx.defs.get_schema(node.op_type, v) for v in (version, OPSET))
    return old.since_version != new.since_version and (
        old.deprecated != new.deprecated
        or [i.name for i in old.inputs] != [i.name for i in new.inputs]
        or _defaults(old) != _defaults(new)
    )


def _defaults(schema: onnx.defs.OpSchema) -> dict[str, bytes]:
    return {k: a.default_value.SerializeToString() for k, a in schema.attributes.items()}


def _resize_as_before(old: ir.Model, new: ir.Model) -> None:
    """Keep the sampling points of Upsample and of opset 10's Resize.

    The converter leaves the later default (half_pixel), and these meant `x / scale`; ONNX
    Runtime rounds that down, or up where the picture shrinks.
    """
    version = old.opset_imports[""]
    meant = {
        node.outputs[0].name
        for node in old.graph
        if node.op_type == "Upsample" or (node.op_type == "Resize" and version == 10)
    }
    for node in new.graph:
        if node.op_type == "Resize" and node.outputs[0].name in meant:
            scales = node.inputs[2].const_value if node.inputs[2] is not None else None
            shrinks = scales is not None and bool((scales.numpy() < 1).any())
            for key, value in (
                ("coordinate_transformation_mode", "asymmetric"),
                ("nearest_mode", "ceil" if shrinks else "floor"),
            ):
                node.attributes[key] = ir.AttrString(key, value)


def _check_same(old: ir.Model, new: ir.Model, changed: list[str]) -> None:
    """Raise ModelError unless both give the same outputs; the converter errs on rare ops."""
    feeds = random_inputs(old, 2, np.random.default_rng(0))
    try:
        before = Session(old).run(feeds)
    except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
        raise ModelError(
            f"ONNX Runtime cannot run the network: {' '.join(str(error).split())[:300]}",
            hint="Check that the file runs in ONNX Runtime, or cut with --end-node-names.",
        ) from error
    try:
        after = Session(new).run(feeds)
        same = all(close(after[name], value) for name, value in before.items())
    except Exception:  # as above; what fails now and ran before was spoilt by the upgrade
        same = False
    if not same:
        raise ModelError(
            f"The upgrade from opset {old.opset_imports['']} to {OPSET} changes what the network "
            f"computes; one of these ops cannot be upgraded: {', '.join(changed)}.",
            hint="Export the network with opset_version=21, or cut the op off "
            "with --end-node-names.",
        )


def _convert(network: ir.Model) -> ir.Model:
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
