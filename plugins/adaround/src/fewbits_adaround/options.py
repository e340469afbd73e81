"""Options of the algorithm `adaround`."""

from typing import Literal

from fewbits.options import Options
from pydantic import Field, field_validator


class AdaRoundOptions(Options):
    """Options of `adaround`."""

    layers: tuple[str, ...] = Field(("*",), description="Layers to round, names or globs.")
    mode: Literal["train_4bit", "train_all"] = Field(
        "train_4bit", description="Round layers whose weights have 4 bits, or all of them."
    )
    learning_rate: float = Field(0.03, gt=0.0, description="Adam's, for the relaxed choices.")
    batch_size: int = Field(32, ge=1, description="Samples in a step; positions are drawn of them.")
    dataset_size: int = Field(
        1024, ge=1, description="Calibration samples, from the start; fewer if there are fewer."
    )
    epochs: int = Field(100, ge=1, description="How often a layer sees the samples.")
    warmup: float = Field(
        0.2, ge=0.0, lt=1.0, description="Share of the steps before choices are pressed to settle."
    )
    weight: float = Field(
        0.01, ge=0.0, description="How hard choices are pressed to settle, λ in the paper."
    )
    b_range: tuple[float, float] = Field(
        (20.0, 2.0), description="β from, to: how late choices near the middle are pressed."
    )
    train_bias: bool = Field(True, description="Let the biases learn too.")
    start: Literal["nearest", "current"] = Field(
        "nearest",
        description="Where choices start: at the float weight, or half way to the rounding that "
        "the model has, such as that of gptq.",
    )
    columns: int = Field(
        8192, ge=64, description="Positions of a layer drawn from all samples, at least."
    )

    @field_validator("b_range")
    @classmethod
    def _falling(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] >= value[1] > 0.0:
            raise ValueError("it must fall and stay above 0")
        return value
