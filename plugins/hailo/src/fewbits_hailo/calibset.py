"""Calibration samples as Hailo's compiler takes them: float32, channels last, one npy an input."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from fewbits.data import Dataset
from fewbits.errors import TargetError
from numpy.typing import NDArray

from fewbits_hailo.floatnet import HandedInput

#: samples read at once while the files are written.
_BATCH = 16


def write_calibration(
    dataset: Dataset, inputs: Sequence[HandedInput], folder: Path
) -> dict[str, Path]:
    """Write every sample, a few at a time; return input name → file.

    Args:
        dataset: unlabelled samples as fewbits' model takes them.
        inputs: of the network that is handed over.
        folder: where the files go.

    Raises:
        TargetError: an input has more than four dimensions.
    """
    files = {each.name: folder / _file_name(each, inputs) for each in inputs}
    with ExitStack() as stack:
        held = {}
        for each in inputs:
            file = stack.enter_context(files[each.name].open("wb"))
            shape = (len(dataset), *channels_last_shape(each))
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            held[each.name] = file
        for batch in dataset.batches(_BATCH):
            for each in inputs:
                array = channels_last(batch.inputs[each.source], each)
                held[each.name].write(array.astype("<f4").tobytes())
    return files


def _file_name(handed: HandedInput, inputs: Sequence[HandedInput]) -> str:
    return "calibration.npy" if len(inputs) == 1 else f"calibration_{inputs.index(handed) + 1}.npy"


def channels_last(array: NDArray[np.generic], handed: HandedInput) -> NDArray[np.float32]:
    """Return samples of fewbits' model as the compiler and the device take them.

    Args:
        array: `(batch, …)`, as fewbits' model takes them.
        handed: the input.

    Returns:
        float32, contiguous: `(N, H, W, C)`; `(N, F)` for vectors; `(N, 1, A, B)` for what has
        three dimensions, which is second-hand.

    Raises:
        TargetError: the input has more than four dimensions.
    """
    shape = channels_last_shape(handed)
    if len(handed.shape) == 4 and not handed.channels_last:
        array = np.moveaxis(array, 1, -1)
    return np.ascontiguousarray(array, np.float32).reshape(len(array), *shape)


def channels_last_shape(handed: HandedInput) -> tuple[int, ...]:
    """Return the shape of one sample, channels last.

    >>> channels_last_shape(HandedInput("x", "x", (1, 3, 32, 48)))
    (32, 48, 3)

    Raises:
        TargetError: the input has more than four dimensions.
    """
    sides = handed.shape[1:]
    if len(sides) > 3:
        raise TargetError(
            f"Input '{handed.source}' has {len(handed.shape)} dimensions, and Hailo's compiler "
            "takes four at most.",
            hint="Cut the network behind it with --start-node-names when it is parsed.",
        )
    if len(sides) == 3:
        return (*sides[1:], sides[0])
    return (1, *sides) if len(sides) == 2 else sides


def first_layout(
    outputs: Mapping[str, NDArray[np.generic]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[np.float32]]:
    """Return a device's outputs as fewbits' model writes them, channels first.

    Args:
        outputs: output name → `(batch, H, W, C)`, or any shape of the same order for vectors.
        shapes: output name → shape of one sample in fewbits' model.

    Raises:
        TargetError: an output has another number of elements.
    """
    return {name: _channels_first(array, shapes[name], name) for name, array in outputs.items()}


def _channels_first(
    array: NDArray[np.generic], shape: tuple[int, ...], name: str
) -> NDArray[np.float32]:
    if array[:1].size != int(np.prod(shape)):
        raise TargetError(
            f"Output '{name}' is {'×'.join(map(str, array.shape[1:]))} on the device and "
            f"{'×'.join(map(str, shape))} in the model.",
            hint="Give with --hef the file that was made from this very model.",
        )
    if len(shape) == 3:
        array = np.moveaxis(array.reshape(len(array), *shape[1:], shape[0]), -1, 1)
    return np.ascontiguousarray(array, np.float32).reshape(len(array), *shape)
