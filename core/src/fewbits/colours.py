"""Pictures as devices and cameras hand them over: other orders of the channels, YUV, packed YUV.

YUV here is ITU-R BT.601 in limited range, 16 to 235 for Y and 16 to 240 for U and V. Every form
is a `(height, width, channels)` array whose bytes in order are those of the buffer of that name:

- NV12: `(3/2·H, W, 1)`: the rows of Y, then rows of U and V in turn, each for 2×2 pixels.
- NV21: the same with V before U.
- I420: `(3/2·H, W, 1)`: Y, then all of U, then all of V.
- YUY2: `(H, W, 2)`: Y with U in even columns, with V in odd ones, each for two pixels.
- RGBX: `(H, W, 4)`: a fourth channel that means nothing, 0 here.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError

Channels = Literal["RGB", "BGR", "GRAY", "RGBX", "YUV", "NV12", "NV21", "I420", "YUY2"]
Pixels = NDArray[np.uint8]

#: Fixed-point weights of R, G, B in the grey value (ITU-R BT.601), as Pillow has them, over 2^16.
LUMA = (19595, 38470, 7471)

#: rows Y, U, V over columns R, G, B, each over 255: ITU-R BT.601-7, section 3.5, 8 bits.
YUV_OF_RGB = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
)
YUV_OFFSET = np.array([16.0, 128.0, 128.0])

#: how many pixels, down and across, share one U and one V.
SHARED = {"NV12": (2, 2), "NV21": (2, 2), "I420": (2, 2), "YUY2": (1, 2)}
_DEPTH = {"GRAY": 1, "RGBX": 4, "NV12": 1, "NV21": 1, "I420": 1, "YUY2": 2}


def form(channels: str, height: int, width: int) -> tuple[int, int, int]:
    """Return rows, columns and channels of a picture in a form.

    >>> form("NV12", 4, 6), form("YUY2", 4, 6), form("RGB", 4, 6)
    ((6, 6, 1), (4, 6, 2), (4, 6, 3))
    """
    rows = height * 3 // 2 if SHARED.get(channels) == (2, 2) else height
    return rows, width, _DEPTH.get(channels, 3)


def order_channels(pixels: Pixels, channels: str, name: str = "the picture") -> Pixels:
    """Bring RGB or grey pixels into the form asked for.

    Args:
        pixels: uint8 `(..., height, width, channels)`; three channels are red, green, blue.
        channels: see the module.
        name: where they come from, for messages.

    Returns:
        uint8; for GRAY `(..., 1)` with Pillow's weights of red, green and blue.

    Raises:
        DataError: anything but RGB is asked of pixels that are not RGB, or U and V cannot be
            shared because a side is odd.
    """
    depth = pixels.shape[-1]
    if channels == "RGB" or (channels == "GRAY" and depth == 1):
        return pixels
    if depth != 3:
        raise DataError(
            f"{name} has {depth} channels, and channels={channels} needs red, green and blue.",
            hint="Leave channels out of --preprocess to use them as they are.",
        )
    if channels == "BGR":
        return pixels[..., ::-1]
    if channels == "RGBX":
        return np.concatenate([pixels, np.zeros_like(pixels[..., :1])], axis=-1)
    if channels == "GRAY":
        grey = pixels.astype(np.uint32) @ np.asarray(LUMA, np.uint32)
        return ((grey + 0x8000) >> 16).astype(np.uint8)[..., None]
    return _rounded(yuv(pixels)) if channels == "YUV" else _packed(pixels, channels, name)


def yuv(pixels: Pixels) -> NDArray[np.float64]:
    """Return red, green and blue as Y, U and V, not rounded.

    >>> yuv(np.array([[[255, 255, 255]]], np.uint8)).round(6)
    array([[[235., 128., 128.]]])
    """
    return np.asarray(pixels @ (YUV_OF_RGB.T / 255.0) + YUV_OFFSET)


def _packed(pixels: Pixels, channels: str, name: str) -> Pixels:
    height, width = pixels.shape[-3:-1]
    down, across = SHARED[channels]
    if height % down or width % across:
        raise DataError(
            f"{name} becomes {height}x{width} pixels, and {channels} needs even sides.",
            hint="Set resize or crop in --preprocess to even sides.",
        )
    values = yuv(pixels)
    blocks = (*pixels.shape[:-3], height // down, down, width // across, across, 2)
    chroma = _rounded(values[..., 1:].reshape(blocks).mean(axis=(-4, -2)))
    luma = _rounded(values[..., 0])
    if channels == "YUY2":
        return np.stack([luma, chroma.reshape(luma.shape)], axis=-1)
    if channels == "NV21":
        chroma = chroma[..., ::-1]
    if channels == "I420":
        chroma = np.moveaxis(chroma, -1, -3)
    below = chroma.reshape(*luma.shape[:-2], height // 2, width)
    return np.concatenate([luma, below], axis=-2)[..., None]


def _rounded(values: NDArray[np.float64]) -> Pixels:
    return values.round().clip(0, 255).astype(np.uint8)
