"""What preprocessing becomes when pictures are wanted at another size."""

from typing import Any

import numpy as np
from fewbits.preprocess import Preprocess

Size = tuple[int, int]


def rescaled(said: Preprocess, old: Size, new: Size) -> Preprocess:
    """Return preprocessing that gives the same part of each picture at another size.

    Resize and crop grow by `max(new / old)` over height and width. If the proportions change with
    that, or nothing else brought pictures to a size, the last thing is to stretch them.

    Args:
        said: gives pictures of the old size.
        old: height and width so far.
        new: height and width wanted.

    >>> rescaled(Preprocess(resize=256, crop=224), (224, 224), (448, 448)).to_text()
    'resize=512,crop=448'
    >>> rescaled(Preprocess(resize=256, crop=224), (224, 224), (224, 448)).to_text()
    'resize=512,crop=448,stretch=[224,448]'
    >>> rescaled(Preprocess(resize=(64, 64)), (64, 64), (48, 80)).to_text()
    'resize=[48,80]'
    """
    factor = max(n / o for n, o in zip(new, old, strict=True))
    same = old[0] * new[1] == old[1] * new[0]
    framed = said.letterbox is not None or said.crop_padding is not None
    cut = said.crop is not None and said.resize is None
    if said.stretch is not None or cut or (framed and not same):
        return said.model_copy(update={"stretch": new})
    if said.crop is None:
        padding = None if said.crop_padding is None else round(said.crop_padding * factor)
        return said.model_copy(update={"resize": new, "crop_padding": padding})
    crop = tuple(round(side * factor) for side in old)
    changes: dict[str, Any] = {
        "resize": _grown(said.resize, factor, crop),
        "crop": crop[0] if isinstance(said.crop, int) else crop,
        "stretch": None if crop == new else new,
    }
    return said.model_copy(update=changes)


def scale(old: int, new: int) -> np.float32:
    """Return the factor by which a Resize in float32 makes `new` pixels of `old`.

    The new size is the product cut off, so the quotient may have to be a touch larger.

    >>> int(np.float32(448) * scale(448, 224)), int(np.float32(27) * scale(27, 22))
    (224, 22)
    """
    factor = np.float32(new / old)
    while np.floor(np.float32(old) * factor) < new:
        factor = np.nextafter(factor, np.float32(np.inf))
    return factor


def _grown(side: int | Size | None, factor: float, least: tuple[int, ...]) -> int | Size | None:
    """Return a resize times the factor, and no smaller than the crop behind it."""
    if side is None:
        return None
    if isinstance(side, int):
        return max(round(side * factor), *least)
    height, width = (max(round(s * factor), low) for s, low in zip(side, least, strict=True))
    return height, width
