"""The model script that goes with a network that is handed over."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir
from fewbits import __version__
from fewbits.model import Encoding, Model, Precision, Stage
from fewbits.placement import unary_roots

from fewbits_hailo.layernames import ACTIVATIONS, PAIRS, port_names
from fewbits_hailo.script.syntax import Argument, Glob, Statement, Value, Word, write_statement

#: what stands between fewbits' lines, whose layer names follow the compiler's, and the user's.
MARK = "# From the model script that was given, as it stood:"

_OFF: Mapping[str, Value] = {"policy": Word("disabled")}
_NOWHERE: Mapping[str, Value] = {"layers": Glob("*"), "mode": Word("disabled")}
#: what fewbits has done, or was not asked to do; the compiler is to leave it alone.
_SWITCHED_OFF = (
    ("pre_quantization_optimization", "equalization", _OFF),
    ("pre_quantization_optimization", "weights_clipping", _NOWHERE),
    ("pre_quantization_optimization", "activation_clipping", _NOWHERE),
    ("post_quantization_optimization", "bias_correction", _OFF),
    ("post_quantization_optimization", "finetune", _OFF),
    ("post_quantization_optimization", "adaround", _OFF),
)


def handed_script(
    model: Model, names: Mapping[str, str], *, device: str, samples: int, lines: Sequence[str] = ()
) -> str:
    """Return the script: nothing is redone, modes and ranges are those that fewbits chose.

    Args:
        model: at stage `quantized`.
        names: node name in `model` → the compiler's name of the layer.
        device: the architecture.
        samples: how many calibration samples go with it.
        lines: the user's own lines, which come last and unchanged.
    """
    said = [
        f"# Written by fewbits {__version__} from {model.name} for {device}.",
        "# What fewbits did is in the weights and biases already: nothing of it is done again.",
        _line("model_optimization_flavor", optimization_level=-100, compression_level=0),
        _line(
            "model_optimization_config",
            Word("calibration"),
            batch_size=min(8, samples),
            calibset_size=samples,
        ),
        _line("model_optimization_config", Word("compression_params"), auto_4bit_weights_ratio=0.0),
        *(_line(name, Word(what), **options) for name, what, options in _SWITCHED_OFF),
        *_modes(model, names),
        *_ranges(model, names),
        *([MARK, *lines] if lines else []),
    ]
    return "".join(f"{line}\n" for line in said)


def _line(command: str, *values: Value, **options: Value) -> str:
    arguments = [Argument("", value) for value in values]
    arguments += [Argument(key, value) for key, value in options.items()]
    return write_statement(Statement((), command, tuple(arguments)))


def _modes(model: Model, names: Mapping[str, str]) -> list[str]:
    """Return a line for each layer whose precision mode is not the compiler's own, a8_w8.

    One layer a line, so that one that the compiler does not have takes no other with it.
    """
    return [
        _line("quantization_param", Word(name), precision_mode=Word(str(mode)))
        for name, mode in precision_modes(model, names).items()
        if str(mode) != "a8_w8"
    ]


def precision_modes(model: Model, names: Mapping[str, str]) -> dict[str, Precision]:
    """Return the compiler's layer name → precision mode, inputs and outputs included.

    Layers without weights have the bits of what they write for both.
    """
    ports = {port: model.encodings.get(name) for port, name in port_names(model).items()}
    modes = {port: _mode_of(encoding) for port, encoding in ports.items() if encoding is not None}
    written = written_encodings(model, names)
    for node in model.graph:
        name = names.get(str(node.name))
        if name is None:
            continue
        if str(node.name) in model.precisions:
            modes[name] = model.precisions[str(node.name)]
        elif name in written:
            modes[name] = _mode_of(written[name])
    return modes


def _mode_of(encoding: Encoding) -> Precision:
    """Return the mode of what has no weights; of 16 bits a device may use fewer."""
    bits = 8 if encoding.bits <= 8 else 16
    return Precision(bits, bits)


def _ranges(model: Model, names: Mapping[str, str]) -> list[str]:
    """Return a line for each layer whose output's range fewbits knows, inputs first."""
    return [
        _line(
            "quantization_param",
            Word(name),
            force_range_out=(float(encoding.low), float(encoding.high)),
        )
        for name, encoding in written_encodings(model, names).items()
    ]


def written_encodings(model: Model, names: Mapping[str, str]) -> dict[str, Encoding]:
    """Return the compiler's layer name → encoding of what the layer writes, activation included.

    Layers that pass on what they read are left out: the compiler does the same there.

    Args:
        model: at stage `quantized`.
        names: node name → the compiler's name.
    """
    held = model.at(Stage.QUANTIZED)
    found = {
        port: held.encodings[name]
        for port, name in port_names(held).items()
        if name in held.encodings and name in held.input_names
    }
    ends = _ends(held, names)
    for node in held.graph:
        name = names.get(str(node.name))
        output = node.outputs[0]
        written = ends.get(output, output if output.name in held.encodings else None)
        if name is None or written is None:
            continue
        encoding = held.encodings[str(written.name)]
        if not _passes_on(node, written, held.encodings):
            found[name] = encoding
    return found


def _ends(model: Model, names: Mapping[str, str]) -> dict[ir.Value, ir.Value]:
    """Map each tensor to the last encoded one of the functions fused behind it."""
    roots = unary_roots(model.graph, ACTIVATIONS | frozenset(PAIRS))
    fused = (
        (root, value)
        for value, root in roots.items()
        if value.name in model.encodings and not _is_layer(value.producer(), names)
    )
    return dict(fused)


def _is_layer(node: ir.Node | None, names: Mapping[str, str]) -> bool:
    return node is not None and str(node.name) in names


def _passes_on(node: ir.Node, written: ir.Value, encodings: Mapping[str, Encoding]) -> bool:
    """Whether a layer without weights writes in the very encoding that it reads."""
    own = encodings[str(written.name)]
    read = [encodings[str(v.name)] for v in node.inputs if v is not None and v.name in encodings]
    return node.op_type not in _COMPUTING and any(own.equals(each) for each in read)


_COMPUTING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", *PAIRS})
