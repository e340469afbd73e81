"""A stand-in for Hailo's Dataflow Compiler: NOT Hailo's software, and no part of it.

The real package, `hailo_sdk_client`, comes by login only and is not installed where these tests
run. This file has those of its classes and methods that fewbits calls, with the signatures and the
order of states that are publicly documented, and is as strict as can be: an unknown argument, a
wrong order of calls, a wrong array, an unknown node or layer, or a bad line of a script is an
error. What no document says (the names of layers, what `get_hn_dict` returns) follows what public
programs do with the package.

`compile` returns a file of this stand-in's own, which `hailo_platform_standin` runs.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

HW_ARCHS = (
    "hailo8",
    "hailo8r",
    "hailo8l",
    "hailo10h",
    "hailo15h",
    "hailo15m",
    "hailo15l",
    "hailo12l",
)
OPSETS = (8, *range(11, 18))
KINDS = {
    "Conv": "conv",
    "ConvTranspose": "deconv",
    "Gemm": "fc",
    "Add": "ew_add",
    "Mul": "ew_mult",
    "Concat": "concat",
    "MaxPool": "maxpool",
    "AveragePool": "avgpool",
    "GlobalAveragePool": "avgpool",
    "Softmax": "softmax",
    "Slice": "slice",
    "Pad": "external_pad",
    "Resize": "resize",
    "Split": "feature_splitter",
}
MAGIC = b"STANDIN-HEF\n"


class States:
    UNINITIALIZED = "uninitialized"
    HAILO_MODEL = "hailo_model"
    FP_OPTIMIZED_MODEL = "fp_optimized_model"
    QUANTIZED_MODEL = "quantized_model"
    COMPILED_MODEL = "compiled_model"


class InvalidStateException(Exception):  # noqa: N818 - the real name
    """A method was called before or after its time."""


class ClientRunner:
    #: what the next runner numbers first: tests turn it to see names that differ.
    reverse_names = False

    def __init__(self, hw_arch=None, har=None):
        if hw_arch not in HW_ARCHS:
            raise ValueError(f"hw_arch {hw_arch!r} is none of {HW_ARCHS}")
        if har is not None:
            raise NotImplementedError("the stand-in loads no HAR")
        self.hw_arch, self.state = hw_arch, States.UNINITIALIZED
        self.script, self.calls = "", []

    def _need(self, *states):
        if self.state not in states:
            raise InvalidStateException(f"state is {self.state}, and must be one of {states}")

    def translate_onnx_model(
        self,
        model,
        net_name="model",
        start_node_names=None,
        end_node_names=None,
        net_input_shapes=None,
    ):
        self._need(States.UNINITIALIZED)
        if not isinstance(model, str) or not isinstance(net_name, str):
            raise TypeError("model and net_name are strings")
        if not re.fullmatch(r"[A-Za-z_][\w-]*", net_name):
            raise ValueError(f"'{net_name}' is no name for a network")
        proto = onnx.load(model)
        onnx.checker.check_model(proto, full_check=True)
        opset = {each.domain: each.version for each in proto.opset_import}
        if opset.get("") not in OPSETS or set(opset) - {""}:
            raise ValueError(f"unsupported opset {opset}")
        self._parse(proto, net_name, start_node_names, end_node_names, net_input_shapes)
        self.onnx, self.state = Path(model).read_bytes(), States.HAILO_MODEL
        return json.dumps(self.hn), {}

    def _parse(self, proto, net_name, start, end, shapes):
        inputs = {
            value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in proto.graph.input
        }
        nodes = [node.name for node in proto.graph.node]
        if "" in nodes or len(set(nodes)) < len(nodes):
            raise ValueError("nodes need names, each its own")
        if sorted(start or inputs) != sorted(inputs):
            raise ValueError(f"unknown start node in {start}; the network has {list(inputs)}")
        missing = set(end or ()) - set(nodes)
        if missing:
            raise ValueError(f"unknown end node {missing}")
        if dict(shapes or inputs) != inputs or any(0 in shape for shape in inputs.values()):
            raise ValueError(f"net_input_shapes {shapes} differ from the network's {inputs}")
        self.name, self.ends = net_name, list(end or nodes[-1:])
        self.hn = {"name": net_name, "layers": self._layers(proto, inputs, net_name)}

    def _layers(self, proto, inputs, net_name):
        layers = {}
        for number, (name, shape) in enumerate(inputs.items(), 1):
            layers[f"{net_name}/input_layer{number}"] = {
                "type": "input_layer",
                "original_names": [name],
                "input_shapes": [[-1, *_channels_last(shape)]],
            }
        weights = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
        counts = {}
        nodes = list(proto.graph.node)
        for node in reversed(nodes) if self.reverse_names else nodes:
            kind = _kind(node, weights)
            if kind is not None:
                counts[kind] = counts.get(kind, 0) + 1
                layers[f"{net_name}/{kind}{counts[kind]}"] = {
                    "type": kind,
                    "original_names": [node.name],
                }
        for number, name in enumerate(self.ends, 1):
            layers[f"{net_name}/output_layer{number}"] = {
                "type": "output_layer",
                "original_names": [name],
            }
        return layers

    def get_hn_dict(self):
        self._need(*[s for s in vars(States).values() if s not in ("uninitialized",)])
        return json.loads(json.dumps(self.hn))

    def load_model_script(self, model_script=None, append=False):
        self._need(States.HAILO_MODEL)
        if not isinstance(model_script, str):
            raise TypeError("model_script is a text or a path")
        layers = {name.partition("/")[2] for name in self.hn["layers"]}
        for line in model_script.splitlines():
            check_line(line, layers)
        self.script = (self.script if append else "") + model_script

    def optimize_full_precision(self, calib_data=None):
        self._need(States.HAILO_MODEL)
        if calib_data is not None:
            self._check(calib_data)
        self.state = States.FP_OPTIMIZED_MODEL

    def optimize(self, calib_data, data_type="auto"):
        self._need(States.HAILO_MODEL, States.FP_OPTIMIZED_MODEL)
        self.calibration = self._check(calib_data)
        self.state = States.QUANTIZED_MODEL

    def _check(self, data):
        inputs = {n: v for n, v in self.hn["layers"].items() if v["type"] == "input_layer"}
        if isinstance(data, np.ndarray):
            if len(inputs) != 1:
                raise ValueError("a network of several inputs takes a dict by input layer")
            data = {next(iter(inputs)): data}
        if not isinstance(data, Mapping) or set(data) != set(inputs):
            raise ValueError(f"calibration is wanted for {set(inputs)}")
        wanted = re.search(r"calibset_size=(\d+)", self.script)
        for name, array in data.items():
            shape = inputs[name]["input_shapes"][0][1:]
            if array.dtype != np.float32:
                raise TypeError(f"calibration for {name} is {array.dtype}, and must be float32")
            if list(array.shape[1:]) != shape:
                raise ValueError(f"calibration for {name} is {array.shape[1:]}, not {shape}")
            if wanted and len(array) < int(wanted[1]):
                raise ValueError(f"calibset_size is {wanted[1]}, and {len(array)} samples came")
        return {name: array.copy() for name, array in data.items()}

    def save_har(self, har_path):
        self._need(*[s for s in vars(States).values() if s not in ("uninitialized",)])
        Path(har_path).write_text(f"stand-in HAR of {self.name}, {self.state}\n")

    def compile(self):
        self._need(States.QUANTIZED_MODEL)
        self.state = States.COMPILED_MODEL
        head = {
            "name": self.name,
            "hw_arch": self.hw_arch,
            "ends": self.ends,
            "layers": self.hn["layers"],
            "script": self.script,
        }
        return MAGIC + json.dumps(head).encode() + b"\n" + self.onnx


def _channels_last(shape):
    if len(shape) == 4:
        return [*shape[2:], shape[1]]
    return [1, *shape[1:]] if len(shape) == 3 else shape[1:]


def _kind(node, weights):
    constants = [name for name in node.input if name in weights]
    if node.op_type in ("Add", "Mul") and constants:
        return None
    if node.op_type == "Conv":
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        return "dw" if groups > 1 and weights[node.input[1]][1] == 1 else "conv"
    return KINDS.get(node.op_type)


#: command → what its first word may be (None: a layer selector, or values), and its keys.
COMMANDS = {
    "model_optimization_flavor": ((), {"optimization_level", "compression_level", "batch_size"}),
    "model_optimization_config": (
        ("calibration", "compression_params", "checker_cfg", "globals", "negative_exponent"),
        {"batch_size", "calibset_size", "policy", "auto_4bit_weights_ratio", "layers", "rank"},
    ),
    "pre_quantization_optimization": (
        ("equalization", "weights_clipping", "activation_clipping"),
        {"policy", "layers", "mode", "clipping_values"},
    ),
    "post_quantization_optimization": (
        ("bias_correction", "finetune", "adaround"),
        {"policy", "layers", "epochs", "dataset_size"},
    ),
    "quantization_param": (None, {"precision_mode", "force_range_out", "force_range_in"}),
    "performance_param": ((), {"compiler_optimization_level", "optimize_for_power"}),
    "allocator_param": ((), {"timeout", "width_splitter_defuse"}),
    "context_switch_param": ((), {"mode"}),
    "resources_param": ((), {"max_control_utilization", "max_compute_utilization"}),
    "shortcut": (None, set()),
}
NUMBER = r"-?\d+(\.\d*)?(e[+-]?\d+)?"
LAYERS = r"(\w+|\{[\w*?\[\]-]+\}|\[[\w, {}*]+\])"


def check_line(line, layers):
    """Raise ValueError unless a line of a script is well formed and its layers are known."""
    if not line.strip() or line.lstrip().startswith("#"):
        return
    found = re.fullmatch(r"(?:[\w, /]+ = )?(\w+)\((.*)\)", line)
    if not found or found[1] not in COMMANDS:
        raise ValueError(f"bad line: {line}")
    words, keys = COMMANDS[found[1]]
    for part in _parts(found[2]):
        key, equals, value = part.partition("=")
        if not equals and words is None:
            _check_layers(part, layers)
        elif not equals and part not in words:
            raise ValueError(f"unknown word {part}: {line}")
        elif equals and (key not in keys or not _is_value(key, value, layers)):
            raise ValueError(f"bad argument {part}: {line}")


def _parts(text):
    """Split at commas outside brackets."""
    if text.count("[") != text.count("]") or text.count("{") != text.count("}"):
        raise ValueError(f"brackets do not match: {text}")
    return [part.strip() for part in re.split(r",(?![^\[{]*[\]}])", text) if part.strip()]


def _check_layers(text, layers):
    if not re.fullmatch(LAYERS, text):
        raise ValueError(f"no layers: {text}")
    for name in re.findall(r"[\w{}*]+", text):
        if not name.startswith("{") and name not in layers:
            raise ValueError(f"unknown layer {name}; there are {sorted(layers)}")


def _is_value(key, value, layers):
    if key == "layers":
        _check_layers(value, layers)
        return True
    if key == "precision_mode":
        return value in ("a8_w8", "a8_w4", "a16_w8", "a16_w16")
    if key.startswith("force_range"):
        ends = re.fullmatch(rf"\[({NUMBER}), ({NUMBER})\]", value)
        return bool(ends) and float(ends[1]) < float(ends[4])
    return bool(re.fullmatch(rf"\w+|{NUMBER}|\[.*\]", value))
