"""Runs a HEF on a device through HailoRT's Python package, `hailo_platform`."""

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fewbits.errors import TargetError
from fewbits.interfaces import Runnable
from fewbits.model import Model
from numpy.typing import NDArray

from fewbits_hailo.calibset import channels_last, channels_last_shape, first_layout
from fewbits_hailo.floatnet import HandedInput, float_network

#: HailoRT's Python package; it comes from Hailo's developer zone, by login only.
PACKAGE = "hailo_platform"


class HardwareRunner(Runnable):
    """A HEF that is loaded onto a device.

    Samples go in and come out as float32: HailoRT quantizes and dequantizes by the scales in the
    HEF. Their layout is the device's, channels last; this turns it both ways.

    Args:
        model: what the HEF was made from, at stage `quantized` or later.
        executable: the HEF.
        device: the architecture, for messages.

    Raises:
        TargetError: the package, a device or the HEF is missing, or the HEF is of another model
            or device; says which.
    """

    def __init__(self, model: Model, executable: Path | None, device: str) -> None:
        self._platform, self._device = need_platform(device), device
        file = need_hef(executable, device)
        network = float_network(model)
        self._shapes = {
            str(value.name): tuple(side for side in value.shape[1:] if isinstance(side, int))
            for value in model.graph.outputs
            if value.shape is not None
        }
        self._held = ExitStack()
        with self._told("load the HEF"):
            hef = self._platform.HEF(str(file))
            self._inputs = _matched_inputs(hef, network.inputs)
            self._outputs = _matched_outputs(hef, network.end_nodes, model.output_names)
            self._pipeline = self._open(hef)

    def _open(self, hef: Any) -> Any:
        """Load the HEF onto a device; return what runs it."""
        platform, hold = self._platform, self._held.enter_context
        kind = platform.FormatType.FLOAT32
        group = hold(platform.VDevice()).configure(hef)[0]
        # Releases of HailoRT differ in what they take `quantized` to be when it is left out.
        sent = platform.InputVStreamParams.make(group, quantized=False, format_type=kind)
        got = platform.OutputVStreamParams.make(group, quantized=False, format_type=kind)
        pipeline = hold(platform.InferVStreams(group, sent, got))
        hold(group.activate(group.create_params()))
        return pipeline

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn HailoRT's exceptions into errors that say what to do, and give the device back."""
        try:
            yield
        except self._platform.HailoRTException as error:
            self.close()
            said = " ".join(str(error).split())[:300]
            raise TargetError(
                f"HailoRT could not {what} for {self._device}: {said}",
                hint="The HEF must be made for the device that is plugged in, by a compiler that "
                "goes with this release of HailoRT.",
            ) from error
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return output name → float32 array, batch first, laid out as the model has it.

        Raises:
            TargetError: the HEF was made from another model.
        """
        sent = {
            stream: channels_last(np.asarray(inputs[handed.source]), handed)
            for stream, handed in self._inputs.items()
        }
        with self._told("run the HEF"):
            got = self._pipeline.infer(sent)
        named = {name: np.asarray(got[stream]) for stream, name in self._outputs.items()}
        return dict(first_layout(named, self._shapes))

    def close(self) -> None:
        """Give the device back."""
        self._held.close()


def need_platform(device: str) -> Any:
    """Return the module `hailo_platform`, where it and a device are there.

    Raises:
        TargetError: one of them is not.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise TargetError(
            f"HailoRT's Python package {PACKAGE} is not installed here, and it alone runs models "
            f"on {device}.",
            hint="Install HailoRT from Hailo's developer zone on the machine with the device, or "
            "measure on the emulator: --target emulator.",
        )
    try:
        platform = importlib.import_module(PACKAGE)
    except Exception as error:  # it raises what it likes where its library or driver is missing
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise TargetError(
            f"HailoRT's Python package {PACKAGE} cannot be imported. {said}",
            hint="Install the release of HailoRT that goes with the driver.",
        ) from error
    if not platform.Device.scan():
        raise TargetError(
            f"HailoRT finds no device, and {device} was asked for.",
            hint="Look with `hailortcli scan`; the driver must be loaded and no other program may "
            "hold the device.",
        )
    return platform


def need_hef(executable: Path | None, device: str) -> Path:
    """Return the HEF's path.

    Raises:
        TargetError: none was given, or there is no such file.
    """
    if executable is not None and executable.is_file():
        return executable
    named = "No HEF was given" if executable is None else f"There is no file {executable}"
    raise TargetError(
        f"{named}, and {device} runs nothing else.",
        hint=f"Compile first: fewbits compile --hw-arch {device}; or name the file with --hef.",
    )


def _matched_inputs(hef: Any, inputs: Sequence[HandedInput]) -> dict[str, HandedInput]:
    """Map the HEF's input streams to the network's inputs, by the names they had in ONNX."""
    named = {each.name: each for each in inputs}
    infos = list(hef.get_input_vstream_infos())
    found = {infos[0].name: inputs[0]} if len(infos) == len(inputs) == 1 else {}
    for info in infos if not found else []:
        for original in hef.get_original_names_from_vstream_name(info.name):
            if original in named:
                found[info.name] = named[original]
    given = [f"{info.name} {tuple(info.shape)}" for info in infos]
    fit = all(_same(info.shape, found[info.name]) for info in infos if info.name in found)
    if len(found) != len(inputs) or len(infos) != len(inputs) or not fit:
        wanted = [f"{each.source} {channels_last_shape(each)}" for each in inputs]
        raise _other_model(f"inputs {', '.join(given)}", ", ".join(wanted))
    return found


def _same(shape: Sequence[int], handed: HandedInput) -> bool:
    """Whether a stream takes the samples of an input; sides of one do not count."""
    return [n for n in shape if n > 1] == [n for n in channels_last_shape(handed) if n > 1]


def _matched_outputs(
    hef: Any, end_nodes: tuple[str, ...], names: tuple[str, ...]
) -> dict[str, str]:
    """Map the HEF's output streams to the network's outputs.

    By the nodes that they came from, or, where the HEF does not tell, in order: HailoRT sorts them
    as the end nodes were named.
    """
    if any("NMS" in str(info.format.order) for info in hef.get_output_vstream_infos()):
        raise TargetError(
            "The HEF ends in non-maximum suppression, whose boxes fewbits has no output for.",
            hint="Leave nms_postprocess out of the model script, or evaluate with Hailo's tools.",
        )
    streams = list(hef.get_sorted_output_names())
    if len(streams) != len(names):
        raise _other_model(f"outputs {', '.join(streams)}", ", ".join(names))
    nodes = dict(zip(end_nodes, names, strict=True))
    told = {
        stream: nodes[original]
        for stream in streams
        for original in hef.get_original_names_from_vstream_name(stream)
        if original in nodes
    }
    if len(set(told.values())) == len(names):
        return told
    return dict(zip(streams, names, strict=True))


def _other_model(found: str, wanted: str) -> TargetError:
    return TargetError(
        f"The HEF has the {found}; the model has {wanted}.",
        hint="Give with --hef the file that was made from this very model.",
    )
