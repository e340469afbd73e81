"""ONNX Runtime sessions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from fewbits.data import InputSpec
from fewbits.interfaces import Runnable


def input_specs(session: ort.InferenceSession) -> tuple[InputSpec, ...]:
    """Return what the network asks for; free dimensions are None."""
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(uint8)": np.uint8}
    return tuple(
        InputSpec(
            i.name,
            tuple(d if isinstance(d, int) and d > 0 else None for d in i.shape),
            np.dtype(types.get(i.type, np.float32)),
        )
        for i in session.get_inputs()
    )


class Session(Runnable):
    """A network loaded into ONNX Runtime on the CPU.

    Args:
        network: the graph, or a serialized ONNX file.
        threads: intra-op threads; None lets ONNX Runtime choose.
        outputs: names of the outputs to compute; all by default.

    A network with a fixed batch is run in parts of that size, the last one padded with zeros.
    """

    def __init__(
        self,
        network: ir.Model | bytes,
        *,
        threads: int | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        data = network if isinstance(network, bytes) else ir.to_proto(network).SerializeToString()
        self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.inputs = input_specs(self._session)
        self.outputs = tuple(outputs or (o.name for o in self._session.get_outputs()))

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return output name → array."""
        fixed = self.inputs[0].shape[0] if self.inputs[0].shape else None
        length = len(next(iter(inputs.values())))
        if fixed is None or fixed == length:
            return self._run(inputs)
        parts = [
            self._run_padded(inputs, start, fixed, length) for start in range(0, length, fixed)
        ]
        return _concatenate(parts, self.outputs)

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        values = self._session.run(list(self.outputs), dict(inputs))
        return dict(zip(self.outputs, values, strict=True))

    def _run_padded(
        self, inputs: Mapping[str, NDArray[Any]], start: int, size: int, length: int
    ) -> dict[str, NDArray[Any]]:
        valid = min(size, length - start)
        part = {
            name: np.concatenate(
                [x[start : start + valid], np.zeros((size - valid, *x.shape[1:]), x.dtype)]
            )
            for name, x in inputs.items()
        }
        return {
            name: value[: len(value) * valid // size] for name, value in self._run(part).items()
        }


def _concatenate(
    parts: Iterable[Mapping[str, NDArray[Any]]], names: Iterable[str]
) -> dict[str, NDArray[Any]]:
    held = list(parts)
    return {name: np.concatenate([part[name] for part in held]) for name in names}
