"""Options of the algorithm `equalization`."""

from typing import Literal

from fewbits.options import Options
from pydantic import Field, model_validator


class EqualizationOptions(Options):
    """Options of `equalization`."""

    mode: Literal["noise", "cle", "one_step", "two_step"] = Field(
        "noise",
        description="noise minimises the rounding noise to expect from weights and activations; "
        "one_step and two_step let both grow as far as they may; cle makes weights even.",
    )
    weights: Literal["target", "per_channel", "per_tensor"] = Field(
        "target",
        description="For mode=noise: what the quantizer will be asked for; one weight scale per "
        "output channel, per tensor, or as the target says.",
    )
    precision: Literal["quantizer", "a8_w8", "a8_w4", "a16_w4", "a16_w8", "a16_w16"] = Field(
        "quantizer",
        description="For mode=noise: the precision mode of most layers; quantizer: what the "
        "quantizer behind it in the recipe is asked for, a8_w8 without one.",
    )
    cap: float = Field(
        16.0, ge=1.0, description="Largest factor of a channel in one_step and two_step."
    )
    pre_activation: bool = Field(
        False,
        description="For one_step and two_step: no channel's values before its activation may "
        "fall further below zero than the widest channel rises above it.",
    )
    clip: Literal["shared", "exact", "relu", "off"] = Field(
        "shared",
        description="ReLU6 and other clips: keep factors to those with which the encoding of the "
        "tensor implies every bound (fast), take any factor and give each channel a bound of its "
        "own, make a Relu of a Clip whose bound no calibration sample meets (the others as with "
        "shared; other data may meet it, and then the output changes), or rescale nothing behind "
        "a clip.",
    )
    samples: int = Field(
        128,
        ge=1,
        description="Calibration samples to look at, evenly spread over all that there are; "
        "clip=relu looks at all.",
    )
    absorb_bias: bool = Field(
        False,
        description="Move what a channel never falls below on the calibration data from a ReLU's "
        "bias into the next layer's; other data may fall below it, and then the output changes.",
    )

    @model_validator(mode="after")
    def _has_a_use_for_each(self) -> "EqualizationOptions":
        if self.pre_activation and self.mode not in ("one_step", "two_step"):
            raise ValueError("pre_activation=true needs mode=one_step or mode=two_step")
        return self
