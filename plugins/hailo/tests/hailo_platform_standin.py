"""A stand-in for HailoRT's Python package: NOT Hailo's software, and no part of it.

The real package, `hailo_platform`, needs HailoRT and its driver, neither of which is where these
tests run. This file has those of its classes and methods that fewbits calls, with the signatures of
the public pyhailort sources (4.18), and is strict about order, names, layouts and types. Its
"device" reads the files that `hailo_sdk_client_standin` writes, runs the network in ONNX Runtime,
and quantizes inputs and outputs to 8 bits by the ranges in the script.
"""

import json
import re
from enum import Enum
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
from hailo_sdk_client_standin import MAGIC

#: devices that are plugged in; tests change it.
DEVICES = ["0000:01:00.0"]


class HailoRTException(Exception):  # noqa: N818 - the real name
    pass


class FormatType(Enum):
    AUTO = 0
    UINT8 = 1
    UINT16 = 2
    FLOAT32 = 3


class FormatOrder(Enum):
    NHWC = 1
    NC = 7
    HAILO_NMS = 8


class Device:
    @classmethod
    def scan(cls):
        return list(DEVICES)


class HEF:
    def __init__(self, hef_source):
        if not isinstance(hef_source, str):
            raise ValueError("HEF can only be created from a file path (str) or a buffer (bytes)")
        with open(hef_source, "rb") as file:
            data = file.read()
        if not data.startswith(MAGIC):
            raise HailoRTException("Invalid HEF. See hailort.log for more information")
        head, _, self._onnx = data.removeprefix(MAGIC).partition(b"\n")
        self._head = json.loads(head)
        self._session = ort.InferenceSession(self._onnx, providers=["CPUExecutionProvider"])
        self.hw_arch = self._head["hw_arch"]

    def get_network_group_names(self):
        return [self._head["name"]]

    def get_input_vstream_infos(self, name=None):
        return [
            SimpleNamespace(
                name=layer,
                shape=tuple(values["input_shapes"][0][1:]),
                format=SimpleNamespace(type=FormatType.UINT8, order=FormatOrder.NHWC),
            )
            for layer, values in self._head["layers"].items()
            if values["type"] == "input_layer"
        ]

    def get_output_vstream_infos(self, name=None):
        order = FormatOrder.HAILO_NMS if "nms_postprocess" in self._head["script"] else None
        return [
            SimpleNamespace(
                name=stream,
                shape=_channels_last(output.shape),
                format=SimpleNamespace(type=FormatType.UINT8, order=order or FormatOrder.NHWC),
            )
            for stream, output in self._streams().items()
        ]

    def get_sorted_output_names(self, network_group_name=None):
        return list(self._streams())

    def get_original_names_from_vstream_name(self, vstream_name, network_group_name=None):
        if vstream_name in self._head["layers"]:
            return self._head["layers"][vstream_name]["original_names"]
        number = list(self._streams()).index(vstream_name)
        return [self._head["ends"][number]]

    def _streams(self):
        name = self._head["name"]
        outputs = self._session.get_outputs()
        return {f"{name}/output_layer{i}": output for i, output in enumerate(outputs, 1)}

    def _range(self, layer):
        pattern = rf"quantization_param\({layer}, force_range_out=\[(.*), (.*)\]\)"
        found = re.search(pattern, self._head["script"])
        return (float(found[1]), float(found[2])) if found else None


class InputVStreamParams:
    @staticmethod
    def make(
        configured_network,
        quantized=None,
        format_type=None,
        timeout_ms=None,
        queue_size=None,
        network_name=None,
    ):
        infos = configured_network._hef.get_input_vstream_infos()
        return {info.name: _checked(quantized, format_type) for info in infos}


class OutputVStreamParams:
    @staticmethod
    def make(
        configured_network,
        quantized=None,
        format_type=None,
        timeout_ms=None,
        queue_size=None,
        network_name=None,
    ):
        infos = configured_network._hef.get_output_vstream_infos()
        return {info.name: _checked(quantized, format_type) for info in infos}


def _checked(quantized, format_type):
    if format_type is not FormatType.FLOAT32 or quantized:
        raise HailoRTException("the stand-in knows float32 streams that HailoRT quantizes")
    return SimpleNamespace(user_buffer_format=SimpleNamespace(type=format_type))


class ConfiguredNetwork:
    def __init__(self, hef):
        self._hef, self._active = hef, False

    @staticmethod
    def create_params():
        return SimpleNamespace(kind="activation")

    def activate(self, network_group_params=None):
        return _Activation(self)


class _Activation:
    def __init__(self, group):
        self.group = group

    def __enter__(self):
        self.group._active = True
        return self

    def __exit__(self, *_):
        self.group._active = False


class VDevice:
    #: devices that are open now; a test sees that each was given back.
    opened = 0

    def __init__(self, params=None, device_ids=None):
        if not DEVICES:
            raise HailoRTException("HailoRT device not found in the system")

    def __enter__(self):
        VDevice.opened += 1
        return self

    def __exit__(self, *_):
        VDevice.opened -= 1

    def configure(self, hef, configure_params_by_name=None):
        if hef.hw_arch != "hailo8":
            raise HailoRTException("HEF was compiled for another device than the one plugged in")
        return [ConfiguredNetwork(hef)]


class InferVStreams:
    def __init__(
        self,
        configured_net_group,
        input_vstreams_params,
        output_vstreams_params,
        tf_nms_format=False,
    ):
        self._group = configured_net_group
        self._open = False

    def __enter__(self):
        self._open = True
        return self

    def __exit__(self, *_):
        self._open = False

    def infer(self, input_data):
        hef = self._group._hef
        if not self._open or not self._group._active:
            raise HailoRTException("Network group is not activated")
        infos = {info.name: info for info in hef.get_input_vstream_infos()}
        if set(input_data) != set(infos):
            raise HailoRTException(f"inputs are {set(infos)}")
        feeds = {}
        for name, array in input_data.items():
            if array.dtype != np.float32 or not array.flags.c_contiguous:
                raise HailoRTException("frames are contiguous float32 here")
            if array.shape[1:] != infos[name].shape:
                raise HailoRTException(f"frames of {name} are {infos[name].shape}")
            layer = name.partition("/")[2]
            source = hef.get_original_names_from_vstream_name(name)[0]
            feeds[source] = _rounded(_channels_first(array, hef, source), hef._range(layer))
        frames = range(len(next(iter(feeds.values()))))
        rows = [
            hef._session.run(None, {name: array[i : i + 1] for name, array in feeds.items()})
            for i in frames
        ]
        streams = list(hef._streams())
        return {
            stream: np.concatenate([_to_channels_last(row[i]) for row in rows])
            for i, stream in enumerate(streams)
        }


def _rounded(array, ends):
    if ends is None:
        return array
    scale = (ends[1] - ends[0]) / 255
    zero_point = np.rint(-ends[0] / scale)
    quantized = np.clip(np.rint(array / scale) + zero_point, 0, 255)
    return ((quantized - zero_point) * scale).astype(np.float32)


def _channels_last(shape):
    return (*shape[2:], shape[1]) if len(shape) == 4 else tuple(shape[1:])


def _to_channels_last(array):
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


def _channels_first(array, hef, source):
    rank = next(len(i.shape) for i in hef._session.get_inputs() if i.name == source)
    if rank == 4:
        return np.ascontiguousarray(np.moveaxis(array, -1, 1))
    return array.reshape(len(array), *array.shape[2:]) if rank == 3 else array
