"""How a picture becomes a network's input; kept in the archive so that every command agrees."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from fewbits.colours import Channels, form, order_channels
from fewbits.errors import DataError, RecipeError
from fewbits.options import Options, build

if TYPE_CHECKING:
    from PIL.Image import Image

EXAMPLE = "resize=256,crop=224,mean=127,std=128"


class Preprocess(Options):
    """Resize, crop, reorder and normalize: `(pixel − mean) / std`, pixels in 0..255.

    A single number for mean or std serves every channel; several stand in the order that the
    network sees (with `channels=BGR`: blue first).
    """

    central: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="First, keep this share of each side, in the middle (TensorFlow's 0.875).",
    )
    crop_padding: int | None = Field(
        default=None,
        ge=0,
        description="First, keep the centred square of resize / (resize + this) of the shorter"
        " side (EfficientNet's 32).",
    )
    resize: int | tuple[int, int] | None = Field(
        default=None,
        description="Shorter side in pixels, or [height, width]; keeps the size when absent.",
    )
    crop: int | tuple[int, int] | None = Field(
        default=None, description="Side of the centre crop in pixels, or [height, width]."
    )
    letterbox: int | None = Field(
        default=None,
        ge=0,
        le=255,
        description="Fit the whole picture into resize=[height, width], with this grey around it"
        " (the YOLO family's 114).",
    )
    rounding: Literal["nearest", "torchvision"] = Field(
        default="nearest",
        description="How the longer side and a crop's offset are rounded: to the nearest pixel"
        " and down, or as torchvision does.",
    )
    stretch: tuple[int, int] | None = Field(
        default=None,
        description="[height, width] that the picture is brought to last, whatever its"
        " proportions: for networks that shrink their input themselves.",
    )
    mean: tuple[float, ...] = Field(
        default=(0.0,), description="Subtracted per channel, in pixel units."
    )
    std: tuple[float, ...] = Field(
        default=(1.0,), description="Divided by per channel, in pixel units."
    )
    channels: Channels = Field(
        default="RGB",
        description="Order of the channels; RGBX, YUV, NV12, NV21, I420 and YUY2 for networks that"
        " take pictures as cameras give them.",
    )
    layout: Literal["NCHW", "NHWC"] = Field(
        default="NCHW", description="Layout of the network's input."
    )
    interpolation: Literal["bicubic", "bilinear", "nearest", "area", "linear"] = Field(
        default="bicubic",
        description="Filter of the resize: Pillow's, which widen when shrinking, or linear, which"
        " does not (OpenCV, TensorFlow).",
    )

    @field_validator("resize", "crop", "stretch", mode="before")
    @classmethod
    def _side(cls, value: Any) -> Any:
        sides = value if isinstance(value, list | tuple) else (value,)
        whole = all(isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in sides)
        if value is None or (whole and (sides[0] is value or len(sides) == 2)):
            return tuple(value) if isinstance(value, list) else value
        raise ValueError("write one side in pixels, or [height, width]")

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _per_channel(cls, value: Any) -> Any:
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not values or not all(map(_is_finite, values)):
            raise ValueError("write one number, or one for each channel such as [124,116,104]")
        return values

    @field_validator("std")
    @classmethod
    def _not_zero(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not np.asarray(value, np.float32).all():
            raise ValueError("it divides the pixels and cannot be 0")
        return value

    @field_validator("channels", "layout", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _go_together(self) -> "Preprocess":
        framed = [name for name in ("central", "crop_padding", "letterbox") if self._says(name)]
        if len(framed) > 1:
            raise ValueError(f"{framed[0]} and {framed[1]} exclude each other")
        if self._says("crop_padding") and self.resize is None:
            raise ValueError("crop_padding needs resize, the side that its share is of")
        if self._says("letterbox") and not isinstance(self.resize, tuple):
            raise ValueError("letterbox needs resize=[height, width] to fit the picture into")
        return self

    def _says(self, name: str) -> bool:
        return getattr(self, name) is not None

    def to_text(self) -> str:
        """Return the text that `parse_preprocess` reads back; only what differs from a default.

        >>> parse_preprocess("mean=[1,2,3], resize=64x32").to_text()
        'resize=[64,32],mean=[1,2,3]'
        """
        defaults = Preprocess()
        said = ((name, getattr(self, name)) for name in type(self).model_fields)
        return ",".join(
            f"{name}={_write(value)}" for name, value in said if value != getattr(defaults, name)
        )

    @property
    def keeps_size(self) -> bool:
        """Whether pictures keep the size that they come in."""
        return not any(map(self._says, ("central", "resize", "crop", "stretch")))

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of every picture, or None where they follow from the picture."""
        if self.stretch is not None:
            return self.stretch
        if self.crop is not None:
            return _pair(self.crop)
        if self.crop_padding is not None and self.resize is not None:
            return _pair(self.resize)
        return self.resize if isinstance(self.resize, tuple) else None

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Shape of every result in its layout, or None where it follows from the picture."""
        if self.size is None:
            return None
        height, width, depth = form(self.channels, *self.size)
        return (depth, height, width) if self.layout == "NCHW" else (height, width, depth)

    def apply(self, image: "Image", name: str = "the picture") -> NDArray[np.float32]:
        """Turn a decoded picture into the network's input.

        Args:
            image: of any mode that `pictures.decode` returns.
            name: the file, for messages.

        Returns:
            float32 `(channels, height, width)`, or `(height, width, channels)` for NHWC.

        Raises:
            DataError: the crop is larger than the picture, or mean and std do not fit it.
        """
        return self.normalize(self.pixels(image, name), name)

    def pixels(self, image: "Image", name: str = "the picture") -> NDArray[np.uint8]:
        """Make grey if asked, resize, crop, stretch; red, green and blue are not yet reordered.

        Returns:
            uint8 `(height, width, channels)`.

        Raises:
            DataError: the crop is larger than the picture.
        """
        from fewbits import pictures

        if self.channels == "GRAY" and image.mode == "RGB":
            image = image.convert("L")
        image = self._framed(image)
        if self.crop is not None:
            image = pictures.centre_crop(image, _pair(self.crop), name, self.rounding)
        if self.stretch is not None:
            image = pictures.resize(image, self.stretch, self.interpolation)
        pixels = np.asarray(image)
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def _framed(self, image: "Image") -> "Image":
        """Choose the part of a picture that counts, and bring it to its size."""
        from fewbits import pictures

        if self.letterbox is not None and isinstance(self.resize, tuple):
            return pictures.letterbox(image, self.resize, self.letterbox, self.interpolation)
        if self.central is not None:
            image = pictures.central(image, self.central)
        if self.resize is None:
            return image
        if self.crop_padding is not None:
            image = pictures.padded_square(image, _pair(self.resize)[0], self.crop_padding)
        return pictures.resize(image, self.resize, self.interpolation, self.rounding)

    def normalize(
        self, pixels: NDArray[np.uint8], name: str = "the picture"
    ) -> NDArray[np.float32]:
        """Order the channels, normalize and lay out: `(pixel − mean) / std` in float32.

        Args:
            pixels: uint8 `(..., height, width, channels)`.
            name: where they come from, for messages.

        Returns:
            float32 `(..., channels, height, width)`, or channels last for NHWC.

        Raises:
            DataError: mean and std do not fit the number of channels.

        >>> grey = Preprocess(mean=1, std=2, channels="GRAY")
        >>> grey.normalize(np.full((1, 1, 1), 4, np.uint8))
        array([[[1.5]]], dtype=float32)
        """
        pixels = order_channels(pixels, self.channels, name)
        depth = pixels.shape[-1]
        mean, std = self._values("mean", depth, name), self._values("std", depth, name)
        if self.layout == "NCHW":
            # Moving the axis while a value is one byte costs a quarter of moving it afterwards.
            pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, -3))
            mean, std = mean[:, None, None], std[:, None, None]
        values = pixels.astype(np.float32)
        values -= mean
        values /= std
        return values

    def _values(self, option: str, depth: int, name: str) -> NDArray[np.float32]:
        values = np.asarray(getattr(self, option), np.float32)
        if len(values) not in (1, depth):
            raise DataError(
                f"{name} has {depth} channels, and {option} has {len(values)} values.",
                hint=f"Give --preprocess one {option} or {depth}; channels=GRAY makes one channel.",
            )
        return values


def parse_preprocess(text: str) -> Preprocess:
    """Read `resize=256,crop=224,mean=[124,116,104],std=128,channels=BGR`.

    Raises:
        RecipeError: an option is unknown (the hint names the nearest), given twice or wrong.

    >>> parse_preprocess("resize=256,crop=224,mean=127,std=128").crop
    224
    """
    options: dict[str, Any] = {}
    for part in re.split(r",(?![^\[]*\])", text.strip()) if text.strip() else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value or key in options:
            problem = "is given twice" if key in options else "is not of the form option=value"
            raise RecipeError(
                f"preprocess: '{part.strip()}' {problem}.", hint=f"Write for example '{EXAMPLE}'."
            )
        options[key] = _read(value)
    return build(Preprocess, options, owner="preprocess")


def _pair(side: int | tuple[int, int]) -> tuple[int, int]:
    return side if isinstance(side, tuple) else (side, side)


def _is_finite(value: Any) -> bool:
    """Whether it is a number that float32 can hold."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= float(np.finfo(np.float32).max)


def _read(text: str) -> Any:
    """Read a number, `[a,b]`, `256x256` or a word."""
    if text.startswith("[") and text.endswith("]"):
        return [_number(part.strip()) for part in text[1:-1].split(",")]
    sides = re.fullmatch(r"(\d+)[xX](\d+)", text)
    return [int(side) for side in sides.groups()] if sides else _number(text)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _write(value: str | float | Sequence[float]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    parts = [_write(part) for part in value]
    return parts[0] if len(parts) == 1 else f"[{','.join(parts)}]"
