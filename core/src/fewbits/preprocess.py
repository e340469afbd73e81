"""How a picture becomes a network's input; kept in the archive so that every command agrees."""

from typing import Literal

from pydantic import Field

from fewbits.options import Options


class Preprocess(Options):
    """Resize, crop, reorder and normalize: `(pixel − mean) / std`, pixels in 0..255.

    A single number for mean or std serves every channel.
    """

    resize: int | tuple[int, int] | None = Field(
        None, description="Shorter side in pixels, or [height, width]; keeps the size when absent."
    )
    crop: int | tuple[int, int] | None = Field(
        None, description="Side of the centre crop in pixels, or [height, width]."
    )
    mean: tuple[float, ...] = Field((0.0,), description="Subtracted per channel, in pixel units.")
    std: tuple[float, ...] = Field((1.0,), description="Divided by per channel, in pixel units.")
    channels: Literal["RGB", "BGR", "GRAY"] = Field("RGB", description="Order of the channels.")
    layout: Literal["NCHW", "NHWC"] = Field("NCHW", description="Layout of the network's input.")
    interpolation: Literal["bicubic", "bilinear", "nearest", "area"] = Field(
        "bicubic", description="Filter of the resize."
    )
