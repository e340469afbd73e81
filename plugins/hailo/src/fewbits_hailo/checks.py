"""What a device cannot do with a network, found before any work: limit and remedy, by layer."""

from collections.abc import Iterator

import onnx_ir as ir
from fewbits.graph import is_layer
from fewbits.integer.chains import chain_behind, varies_along
from fewbits.integer.resizing import resizing
from fewbits.integer.units import parted
from fewbits.interfaces import Finding, TargetSpec
from fewbits.model import Model, Stage
from fewbits.placement import place
from fewbits.shifts import excess

from fewbits_hailo.devices import Device
from fewbits_hailo.widths import bound_tensors, matrix_products

_CUT = "cut the network off before it with --end-node-names, or begin behind it"
#: with fine scales for each channel equalization would see nothing to gain.
_EQUALIZE = "equalization:weights=per_tensor"
_REQUANTIZE = "quantize it for this device: fewbits optimize --hw-arch {name}"


def findings(model: Model, spec: TargetSpec, device: Device) -> list[Finding]:
    """Return everything that a device cannot run.

    Args:
        model: in float, or quantized; then its integers are looked at, too.
        spec: the device's limits.
        device: its row.
    """
    found = [*_inputs(model), *_ops(model, spec, device)]
    if found or model.stage.rank < Stage.QUANTIZED.rank:
        return found
    return [
        *_left_in_float(model, device),
        *_modes(model, spec, device),
        *_widths(model, spec, device),
        *_shifts(model, spec, device),
    ]


def _inputs(model: Model) -> Iterator[Finding]:
    """Find inputs without a fixed shape, or of another type than float."""
    for value in model.graph.inputs:
        shape = list(value.shape) if value.shape is not None else None
        if value.dtype not in (None, ir.DataType.FLOAT):
            yield Finding(
                str(value.name),
                f"inputs are floats that the device quantizes; this one is {value.dtype}",
                "begin behind what reads it, with --start-node-names",
            )
        if shape is None or any(not isinstance(size, int) for size in shape[1:]):
            shown = "unknown" if shape is None else ", ".join(map(str, shape))
            yield Finding(
                str(value.name),
                f"every size but the batch must be fixed, and its shape is ({shown})",
                f"give it: --input-shape {value.name}=1,3,224,224",
            )


def _ops(model: Model, spec: TargetSpec, device: Device) -> Iterator[Finding]:
    """Find ops that the device does not run, and forms of ops that it does not."""
    placement = place(model.graph, spec)
    held = frozenset([*placement.own, *placement.inherited])
    for node in placement.float_nodes:
        if any(list(v.uses()) or v.is_graph_output() for v in node.outputs):
            yield _unsupported(node, device)
    for node in model.graph:
        if is_layer(node) and node.op_type != "MatMul" and _rank(node) > 4:
            yield Finding(str(node.name), f"{node.op_type} over more than two axes", _CUT)
        if node.op_type == "Resize" and node not in placement.float_nodes:
            yield from _resize(node)
        output = node.outputs[0] if len(node.outputs) == 1 else None
        if output is not None and output.name in placement.own and node.op_type in spec.unary_ops:
            chain = chain_behind(output, held - {str(output.name)})
            if chain is not None and len(varies_along(chain)) > 1:
                yield Finding(
                    str(node.name),
                    "its constants differ along several axes, and a table may along one",
                    _CUT,
                )


def _unsupported(node: ir.Node, device: Device) -> Finding:
    kinds = {v.dtype for v in node.outputs} - {None, ir.DataType.FLOAT}
    if node.op_type == "Shape" or kinds:
        limit = f"{node.op_type} computes sizes or indices while the network runs"
        return Finding(str(node.name), limit, "fix the input's shape with --input-shape")
    if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
        limit = f"{node.op_type} takes weights that are constant, and no factors alpha or beta"
        return Finding(str(node.name), limit, _CUT)
    return Finding(str(node.name), f"{device.title} has no {node.op_type} in integers", _CUT)


def _rank(node: ir.Node) -> int:
    value = node.inputs[0]
    return 0 if value is None or value.shape is None else len(value.shape)


def _resize(node: ir.Node) -> Iterator[Finding]:
    how = resizing(node)
    if how is None or not how.exact:
        yield Finding(
            str(node.name),
            "Resize takes the nearest element, or doubles linearly (by 2, 4 or 8, half-pixel or "
            "asymmetric)",
            f"export the network with mode=nearest, or {_CUT}",
        )


def _left_in_float(model: Model, device: Device) -> Iterator[Finding]:
    for node in parted(model)[1]:
        yield Finding(
            str(node.name),
            f"{node.op_type} was left in float, and {device.title} computes in integers alone",
            _REQUANTIZE.format(name=device.name),
        )


def _modes(model: Model, spec: TargetSpec, device: Device) -> Iterator[Finding]:
    """Find layers at modes, and tensors of widths, that the device does not have."""
    for name, mode in model.precisions.items():
        if mode not in spec.precisions:
            allowed = ", ".join(sorted(map(str, spec.precisions)))
            yield Finding(name, f"the mode {mode} is none of {allowed}", "give it one of them")
    computed = {str(v.name) for node in model.graph for v in node.outputs} | set(model.input_names)
    for name in sorted(computed & set(model.encodings)):
        bits = model.encodings[name].bits
        if bits not in (8, spec.wide_bits):
            yield Finding(
                name,
                f"it has {bits} bits, and activations have 8 or {spec.wide_bits} here",
                _REQUANTIZE.format(name=device.name),
            )


def _widths(model: Model, spec: TargetSpec, device: Device) -> Iterator[Finding]:
    """Find neighbours of different widths that must have one, and matrices that are too wide."""
    held = model.encodings
    for node, names in bound_tensors(model.graph, place(model.graph, spec)):
        bits = {name: held[name].bits for name in names if name in held}
        if len(set(bits.values())) > 1:
            widths = ", ".join(f"{name} {width}" for name, width in bits.items())
            yield Finding(
                str(node.name),
                f"{node.op_type} cannot change width, and its tensors have ({widths}) bits",
                "give all that it joins the same precision mode",
            )
    for node in () if device.wide_products.value else matrix_products(model.graph):
        wide = [str(v.name) for v in node.inputs if v is not None and _bits(model, v) > 8]
        if wide:
            yield Finding(
                str(node.name),
                f"matrices are multiplied at 8 bits only, and {' and '.join(wide)} has more",
                "give the layers before it the precision mode a8_w8",
            )


def _bits(model: Model, value: ir.Value) -> int:
    encoding = model.encodings.get(str(value.name))
    return 8 if encoding is None else encoding.bits


def _shifts(model: Model, spec: TargetSpec, device: Device) -> Iterator[Finding]:
    """Find layers whose requantization needs a shift that the device does not have."""
    held = model.encodings
    for unit in parted(model)[0]:
        if unit.layer is None or spec.shifts is None:
            continue
        weight, source = held[str(unit.layer.weight.name)], held[str(unit.layer.input.name)]
        target = held[str(unit.output.name)]
        over = excess(weight, source, target, spec.shifts)
        if over.left:
            yield Finding(
                unit.name,
                f"its result must be shifted left by {over.allowed_left + over.left} bits, and "
                f"{device.name} shifts by {over.allowed_left} at most: its range is too narrow "
                "for its input and weights",
                f"equalize before it (-p {_EQUALIZE}), widen its range (-p "
                f"'quantize:ranges.{unit.name}=[lo, hi]'), or give it 16 bits "
                f"(-p 'quantize:layers.{unit.name}=a16_w16')",
            )
        if over.spread:
            yield Finding(
                unit.name,
                f"the shifts of its channels lie {over.allowed_spread + over.spread} bits apart, "
                f"and {device.name} allows {over.allowed_spread}",
                f"equalize before it (-p {_EQUALIZE}), clip its weights (-p clipping), or "
                "quantize it for this device",
            )
