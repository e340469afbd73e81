"""Nodes that turn pictures as cameras give them into three full planes, `(N, 3, H, W)`.

`fewbits.colours` says how each form lies in memory. Where several pixels share U and V, each gets
the same: nearest upsampling, as OpenCV does it.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from fewbits_editing.front import Front
from fewbits_editing.yuv import kernel

_ROWS, _COLUMNS = 2, 3


@dataclass(frozen=True)
class Unpacking:
    """Nodes under construction for pictures of one size.

    Args:
        front: where they go.
        batch: the first dimension.
        height: rows of the planes.
        width: columns of the planes.
    """

    front: Front
    batch: int | str | None
    height: int
    width: int

    def planes(self, x: ir.Value, source: str, target: str) -> ir.Value:
        """Return planes of `target` made of pictures of the form `source`.

        Args:
            x: pictures, channels first.
            source: bgr, rgb, rgbx, yuv, nv12, nv21, i420 or yuy2.
            target: rgb, bgr or yuv.
        """
        if source in ("rgb", "bgr"):
            order = self.front.indices("order", 2, 1, 0)
            return self._op("Gather", x, order, label=f"{source}_to_{target}", axis=1)
        if source == "rgbx":
            return self._slice(x, 1, 0, 3, 1, (3, self.height, self.width), "rgb")
        if source == "yuy2":
            x = self._from_yuy2(x)
        elif source != "yuv":
            x = self._from_rows(x, source)
        return x if target == "yuv" else self._from_yuv(x, target)

    def _from_rows(self, x: ir.Value, source: str) -> ir.Value:
        """NV12, NV21 and I420: rows of Y, then half as many rows of U and V."""
        height, width = self.height, self.width
        luma = self._slice(x, _ROWS, 0, height, 1, (1, height, width), "luma")
        below = (1, height // 2, width)
        chroma = self._slice(x, _ROWS, height, height * 3 // 2, 1, below, "chroma")
        if source == "i420":
            sizes = self.front.indices("halves", 0, 2, height // 2, width // 2)
            chroma = self._op("Reshape", chroma, sizes, label="uv", shape=_halves(height, width))
        else:
            chroma = self._pairs(chroma, height // 2, swapped=source == "nv21")
        return self._joined(luma, chroma, down=2)

    def _from_yuy2(self, x: ir.Value) -> ir.Value:
        height, width = self.height, self.width
        luma = self._slice(x, 1, 0, 1, 1, (1, height, width), "luma")
        chroma = self._slice(x, 1, 1, 2, 1, (1, height, width), "chroma")
        return self._joined(luma, self._pairs(chroma, height, swapped=False), down=1)

    def _pairs(self, chroma: ir.Value, rows: int, *, swapped: bool) -> ir.Value:
        """Part even columns from odd ones, `(N, 1, rows, W)` → `(N, 2, rows, W/2)`."""
        half = (1, rows, self.width // 2)
        even, odd = (
            self._slice(chroma, _COLUMNS, start, self.width, 2, half, label)
            for start, label in ((0, "even"), (1, "odd"))
        )
        order = (odd, even) if swapped else (even, odd)
        return self._op("Concat", *order, label="uv", shape=(2, *half[1:]), axis=1)

    def _joined(self, luma: ir.Value, chroma: ir.Value, down: int) -> ir.Value:
        """Give each pixel its U and V, and put them behind Y."""
        scales = self.front.constant("scales", np.array([1, 1, down, 2], np.float32))
        full = self._op(
            "Resize",
            chroma,
            None,
            scales,
            label="uv_full",
            shape=(2, self.height, self.width),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        return self._op("Concat", luma, full, label="yuv", axis=1)

    def _from_yuv(self, x: ir.Value, target: str) -> ir.Value:
        weight, bias = kernel(target)
        held = [self.front.constant(label, a) for label, a in (("weight", weight), ("bias", bias))]
        x = self._op("Conv", x, *held, label=f"yuv_to_{target}", kernel_shape=[1, 1])
        ends = [self.front.constant(f"{end}", np.array(end, np.float32)) for end in (0, 255)]
        return self._op("Clip", x, *ends, label="saturated")

    def _slice(
        self,
        x: ir.Value,
        axis: int,
        start: int,
        end: int,
        step: int,
        shape: tuple[int, int, int],
        label: str,
    ) -> ir.Value:
        pairs = (("starts", start), ("ends", end), ("axes", axis), ("steps", step))
        numbers = [self.front.indices(f"{label}.{name}", number) for name, number in pairs]
        return self._op("Slice", x, *numbers, label=label, shape=shape)

    def _op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        label: str,
        shape: tuple[int, ...] = (),
        **attributes: object,
    ) -> ir.Value:
        """Add a node whose output is `(batch, *shape)`, full planes by default."""
        sizes = (self.batch, *(shape or (3, self.height, self.width)))
        return self.front.op(op_type, *inputs, label=label, shape=sizes, **attributes)


def _halves(height: int, width: int) -> tuple[int, int, int]:
    return 2, height // 2, width // 2
