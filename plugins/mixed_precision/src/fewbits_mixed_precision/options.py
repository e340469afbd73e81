"""Options of the quantizer `mixed_precision`."""

import re
from typing import Literal

from fewbits.errors import RecipeError
from fewbits.quantizing import GridOptions
from pydantic import Field, model_validator

DEFAULT_RATIO = 0.2
_UNITS = {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}


class MixedPrecisionOptions(GridOptions):
    """Options of `mixed_precision`: those of `uniform`, and what decides on the bits."""

    precision: Literal["a8_w8", "a16_w8", "a16_w16"] = Field(
        default="a8_w8", description="Mode of the layers that keep their bits."
    )
    ratio_4bit: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Share of the weights that get 4 bits, at least; "
        f"{DEFAULT_RATIO} where nothing else decides.",
    )
    size: str | None = Field(
        None, description="Size of the model, at most: 2.5MB, 900kB or bytes, as info counts it."
    )
    bits: float | None = Field(
        None, ge=4.0, le=16.0, description="Average bits of a weight, at most."
    )
    ratio_16bit: float = Field(
        0.0, ge=0.0, le=1.0, description="Share of the weights that get 16 bits, at most."
    )
    min_snr: float | None = Field(
        None, description="Mean SNR of the outputs on the calibration data in dB, at least."
    )
    max_drop: float | None = Field(
        None, ge=0.0, description="Points of top-1 on labelled calibration data lost, at most."
    )
    metric: Literal["snr", "task"] = Field(
        "snr",
        description="What a layer's bits cost: noise at the outputs, or the rise of the "
        "cross-entropy where the calibration data has labels.",
    )
    optimizer: Literal["pareto", "greedy"] = Field(
        "pareto", description="The best of all choices, or layer after layer by noise per weight."
    )
    dataset_size: int = Field(
        64, ge=1, description="Calibration samples on which each layer is tried."
    )
    label_offset: int = Field(0, description="Added to labels to give the class.")
    plot: str = Field("", description="File that gets a picture of the Pareto front (SVG).")

    @model_validator(mode="after")
    def _one_goal(self) -> "MixedPrecisionOptions":
        given = [name for name in ("ratio_4bit", "size", "bits") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other")
        if (self.ratio_4bit or 0.0) + self.ratio_16bit > 1.0:
            raise ValueError("ratio_4bit and ratio_16bit are more than 1 together")
        if self.size is not None:
            size_in_bytes(self.size)
        return self

    @property
    def ratio(self) -> float | None:
        """`ratio_4bit`, or its default where nothing else says how small the model shall be."""
        others = (self.ratio_4bit, self.size, self.bits, self.min_snr, self.max_drop)
        return DEFAULT_RATIO if all(each is None for each in others) else self.ratio_4bit


def size_in_bytes(text: str) -> float:
    """Return a size as people write it.

    Raises:
        RecipeError: it is no size.

    >>> size_in_bytes("2.5MB"), size_in_bytes("900 kB"), size_in_bytes("4096")
    (2500000.0, 900000.0, 4096.0)
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in _UNITS:
        raise RecipeError(f"'{text}' is no size", hint="Write 2.5MB, 900kB or a number of bytes.")
    return float(found[1]) * _UNITS[found[2]]
