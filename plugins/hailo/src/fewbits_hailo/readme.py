"""The page that lies in a bundle and says what is in it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fewbits import __version__

from fewbits_hailo.calibset import channels_last_shape
from fewbits_hailo.handed_script import precision_modes, written_encodings

if TYPE_CHECKING:
    from fewbits_hailo.handover import Handover

#: how many layers are named before the rest is counted.
_NAMED = 8
_TEXT = """\
# {name} for {device}

Written by fewbits {version}. On a machine with Hailo's Dataflow Compiler:

    python compile.py

makes `{name}.hef`; `python compile.py --har` keeps the compiler's own archive too. Nothing of
fewbits is needed there.

- `{name}.onnx`: the network in float, opset 17, batch 1, with all that fewbits did to it.
- `{name}.alls`: the model script: what is not to be done again, precision modes, ranges, and the
  lines of a script that was given and that are for the compiler alone.
- `calibration*.npy`: {count} samples, float32, channels last, preprocessed as the network takes
  them: {shapes}.
- `plan.json`: names and shapes for `compile.py`; which node of the ONNX file each layer name of the
  script means, so that `compile.py` can use the names that the compiler gives.
- `compile.py`: the calls of the compiler.

What fewbits decided:

- Precision modes: {modes}.
- Ranges handed over: {ranges}.
- Layers improved behind the quantizer, which stand on their integer grid: {improved}.
- Of these, layers with channels whose grid the compiler cannot find again from the largest weight,
  so that it rounds them once more, on a finer grid: {loose}.

The compiler's own rounding is not public. What may come out otherwise than in fewbits' emulator is
said in fewbits' docs/hailo-compile.md; measure the HEF on the device.
"""


def readme(handover: "Handover") -> str:
    """Return the page, in markdown."""
    network, layers = handover.network, handover.layers
    modes = precision_modes(handover.model, layers).values()
    rest = len(network.loose) - _NAMED
    more = f" and {rest} more" if rest > 0 else ""
    return _TEXT.format(
        name=handover.name,
        device=handover.device,
        version=__version__,
        count=len(handover.samples),
        shapes=_listed(f"`{each.name}` {channels_last_shape(each)}" for each in network.inputs),
        modes=_listed(sorted({str(mode) for mode in modes})),
        ranges=len(written_encodings(handover.model, layers)),
        improved=len(network.improved),
        loose=_listed(network.loose[:_NAMED]) + more,
    )


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words) or "none"
