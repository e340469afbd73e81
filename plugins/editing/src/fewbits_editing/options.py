"""Options of the editing steps."""

from typing import Any, Literal

from fewbits.options import Options
from pydantic import Field, field_validator, model_validator

#: what a device's own tools call a conversion → what it is called here.
ALIASES = {
    "tf_rgbx_to_hailo_rgb": "rgbx_to_rgb",
    "nv12_to_hailo_yuv": "nv12_to_yuv",
    "nv21_to_hailo_yuv": "nv21_to_yuv",
    "i420_to_hailo_yuv": "i420_to_yuv",
    "yuy2_to_hailo_yuv": "yuy2_to_yuv",
    "nearest_neighbor": "nearest",
    "disabled": "half_pixel",
    "half_pixels": "half_pixel",
}

Kind = Literal[
    "bgr_to_rgb",
    "rgb_to_bgr",
    "rgbx_to_rgb",
    "yuv_to_rgb",
    "yuv_to_bgr",
    "nv12_to_rgb",
    "nv21_to_rgb",
    "i420_to_rgb",
    "yuy2_to_rgb",
    "nv12_to_yuv",
    "nv21_to_yuv",
    "i420_to_yuv",
    "yuy2_to_yuv",
]

Activation = Literal[
    "linear",
    "relu",
    "relu6",
    "leaky",
    "elu",
    "sigmoid",
    "hardsigmoid",
    "tanh",
    "softplus",
    "silu",
    "hardswish",
    "gelu",
    "mish",
    "softmax",
]


def _renamed(value: Any) -> Any:
    return ALIASES.get(value, value) if isinstance(value, str) else value


class NormalizationOptions(Options):
    """Options of `normalization`."""

    mean: tuple[float, ...] | None = Field(
        None,
        description="Subtracted per channel, in the network's order and in pixel units; by default"
        " what the archive's preprocessing says.",
    )
    std: tuple[float, ...] | None = Field(
        None, description="Divided by per channel; by default what the preprocessing says."
    )
    input: str = Field("", description="Which input; may be left out where there is one only.")
    data: Literal["normalized", "raw"] = Field(
        "normalized",
        description="What the preprocessing gives so far: 'normalized' in this very way, which it"
        " then stops, or 'raw' numbers, which it goes on giving.",
    )

    @field_validator("std")
    @classmethod
    def _not_zero(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and 0.0 in value:
            raise ValueError("it divides and cannot be 0")
        return value

    @model_validator(mode="after")
    def _both(self) -> "NormalizationOptions":
        if (self.mean is None) is not (self.std is None):
            raise ValueError("give mean and std, or neither")
        return self


class InputConversionOptions(Options):
    """Options of `input_conversion`."""

    kind: Kind = Field(
        "yuv_to_rgb", description="What comes in, and what the network takes: FROM_to_TO."
    )
    input: str = Field("", description="Which input; may be left out where there is one only.")
    emulator_support: bool = Field(
        False,
        description="Put the conversion into the network, so that the emulator and calibration"
        " take FROM. By default it is noted for the device's compiler, and nothing changes here.",
    )

    _rename = field_validator("kind", mode="before")(_renamed)


class ResizeOptions(Options):
    """Options of `resize`."""

    height: int | None = Field(None, ge=1, description="Rows that come in.")
    width: int | None = Field(None, ge=1, description="Columns that come in.")
    method: Literal["bilinear", "nearest"] = Field(
        "bilinear", description="How the network brings them to its own size."
    )
    pixels: Literal["half_pixel", "align_corners", "asymmetric"] = Field(
        "half_pixel", description="Which places of the two pictures lie on one another."
    )
    input: str = Field("", description="Which input; may be left out where there is one only.")

    _rename = field_validator("method", "pixels", mode="before")(_renamed)


class InputLayoutOptions(Options):
    """Options of `input_layout`."""

    layout: Literal["NCHW", "NHWC"] = Field(
        "NHWC", description="Where the channels of what comes in are."
    )
    input: str = Field("", description="Which input; may be left out where there is one only.")

    @field_validator("layout", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


class OutputActivationOptions(Options):
    """Options of `output_activation`."""

    activation: Activation = Field(
        "linear",
        description="What each output ends in afterwards, in place of what it ends in now;"
        " 'linear' for nothing.",
    )
    layers: tuple[str, ...] = Field(
        (),
        description="Outputs, or the nodes that write them or the layer before these; names or"
        " globs. By default all outputs.",
    )
    axis: int = Field(-1, description="Axis of the classes, for softmax.")
    alpha: float = Field(0.1, description="Slope below 0, for leaky.")


class LogitsOptions(Options):
    """Options of `logits`."""

    kind: Literal["softmax", "argmax"] = Field(
        "softmax", description="Probabilities, or the number of the largest score."
    )
    layers: tuple[str, ...] = Field(
        (),
        description="Outputs, or the nodes that write them or the layer before these; names or"
        " globs. By default all outputs.",
    )
    axis: int = Field(1, description="Axis of the classes.")
