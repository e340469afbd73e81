"""Everything that Hailo's compiler is handed for a model: network, script, samples, plan."""

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewbits import __version__
from fewbits.data import Dataset
from fewbits.errors import DataError, TargetError
from fewbits.model import Model, Stage

from fewbits_hailo import build
from fewbits_hailo.calibset import channels_last_shape, write_calibration
from fewbits_hailo.floatnet import FloatNetwork, float_network, to_onnx
from fewbits_hailo.handed_script import MARK, handed_script
from fewbits_hailo.layernames import layer_names, scope
from fewbits_hailo.readme import readme
from fewbits_hailo.script.step import handover_lines


@dataclass(frozen=True)
class Handover:
    """What goes to the compiler.

    Args:
        model: at stage `quantized`.
        device: the architecture, as `--hw-arch` names it.
        network: in float.
        names: node name in the ONNX file → the compiler's name, as far as it can be foretold.
        samples: to calibrate on.
        lines: more lines for the compiler, behind those that the model keeps.
    """

    model: Model
    device: str
    network: FloatNetwork
    names: Mapping[str, str]
    samples: Dataset
    lines: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The network's name, as the compiler has it."""
        return scope(self.model)

    @property
    def layers(self) -> dict[str, str]:
        """Node name in the model → the compiler's name of the layer."""
        nodes = self.network.nodes
        return {old: self.names[new] for old, new in nodes.items() if new in self.names}

    def script(self) -> str:
        """Return the model script."""
        return handed_script(
            self.model,
            self.layers,
            device=self.device,
            samples=len(self.samples),
            lines=[*dict.fromkeys([*handover_lines(self.model), *self.lines])],
        )

    def plan(self, samples: Mapping[str, Path]) -> dict[str, Any]:
        """Return what `build` reads, JSON-able.

        Args:
            samples: input name in the ONNX file → file of its samples.
        """
        inputs = {each.name: list(each.shape) for each in self.network.inputs}
        ports = {f"input_layer{i}": name for i, name in enumerate(inputs, 1)}
        return {
            "fewbits": __version__,
            "name": self.name,
            "hw_arch": self.device,
            "onnx": f"{self.name}.onnx",
            "script": f"{self.name}.alls",
            "hef": f"{self.name}.hef",
            "translate": {
                "start_node_names": list(inputs),
                "end_node_names": list(self.network.end_nodes),
                "net_input_shapes": inputs,
            },
            "calibration": {each: file.name for each, file in samples.items()},
            "mark": MARK,
            "layers": ports | {layer: node for node, layer in self.names.items()},
        }


def prepare(
    model: Model, device: str, calibration: Dataset | None, lines: Sequence[str] = ()
) -> Handover:
    """Make the hand-over of a quantized model; nothing is written yet.

    Args:
        model: at stage `quantized` or later.
        device: the architecture.
        calibration: unlabelled samples.
        lines: more lines of a model script for the compiler.

    Raises:
        TargetError: the model is not quantized, or cannot be said in ONNX for the compiler.
        DataError: there are no samples.
    """
    need_quantized(model, device)
    if calibration is None or not len(calibration):
        raise DataError(
            "Hailo's compiler calibrates the network itself and needs samples; none were given.",
            hint="Add --calib-path with a folder of images or an npy/npz file.",
        )
    held = model.at(Stage.QUANTIZED)
    network = float_network(held)
    for each in network.inputs:
        channels_last_shape(each)  # refuses what has too many dimensions
    names = layer_names(held.replace(network=network.network))
    return Handover(held, device, network, names, calibration, tuple(lines))


def need_quantized(model: Model, device: str) -> None:
    """Raise TargetError unless the model is quantized."""
    if model.stage.rank < Stage.QUANTIZED.rank:
        raise TargetError(
            f"{model.name} is {model.stage}; only a quantized model can be compiled for {device}.",
            hint="Run `fewbits optimize` first, with calibration data.",
        )


def write(handover: Handover, folder: Path) -> list[Path]:
    """Write what `compile.py` needs, and it, into an empty folder; return the files.

    The same model and samples give the same bytes.
    """
    name = handover.name
    samples = write_calibration(handover.samples, handover.network.inputs, folder)
    plan = json.dumps(handover.plan(samples), indent=1)
    files: dict[str, bytes] = {
        f"{name}.onnx": to_onnx(handover.network.network),
        f"{name}.alls": handover.script().encode(),
        "plan.json": f"{plan}\n".encode(),
        "compile.py": program().encode(),
        "README.md": readme(handover).encode(),
    }
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return [*(folder / file for file in files), *samples.values()]


def program() -> str:
    """Return the text of the program that makes the HEF where the compiler is installed."""
    return inspect.getsource(build).replace("  # type: ignore[import-not-found]", "")
