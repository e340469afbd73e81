"""The float network's answers."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from fewbits.graph import values_by_name
from fewbits.model import Model
from fewbits.runtime import Session
from fewbits.trainable.graphrun import FloatNetwork
from numpy.typing import NDArray
from torch import Tensor


class Teacher(ABC):
    """Computes tensors of the float network."""

    @abstractmethod
    def answers(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """Return tensor name → value for a batch, without gradients."""


class RuntimeTeacher(Teacher):
    """The float network in ONNX Runtime: on a CPU faster than torch.

    Args:
        model: the float model.
        names: the tensors.
        threads: threads of the runtime; None lets it choose.
    """

    def __init__(self, model: Model, names: Sequence[str], threads: int | None) -> None:
        network = model.network.clone()
        values = values_by_name(network.graph)
        leaving = {v.name for v in network.graph.outputs}
        network.graph.outputs.extend(values[name] for name in names if name not in leaving)
        self._session = Session(network, threads=threads, outputs=names)

    def answers(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """Return tensor name → value for a batch."""
        seen = self._session.run(inputs)
        return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in seen.items()}


class TorchTeacher(Teacher):
    """The float network in torch, for a GPU.

    Args:
        model: the float model.
        names: the tensors.
        device: where it runs.
    """

    def __init__(self, model: Model, names: Collection[str], device: torch.device) -> None:
        self._network = FloatNetwork(model.graph).to(device)
        self._names, self._device = tuple(names), device

    def answers(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """Return tensor name → value for a batch, on the device."""
        given = {name: torch.from_numpy(x).to(self._device) for name, x in inputs.items()}
        with torch.no_grad():
            found: dict[str, Tensor] = self._network(given, self._names)
        return found


def teacher_for(
    model: Model, names: Sequence[str], device: torch.device, threads: int | None
) -> Teacher:
    """Return the teacher that is fast on a device."""
    if device.type == "cpu":
        return RuntimeTeacher(model, names, threads)
    return TorchTeacher(model, names, device)
