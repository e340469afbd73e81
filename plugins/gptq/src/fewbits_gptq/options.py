"""Options of the algorithm `gptq`."""

from typing import Annotated, Literal

from fewbits.options import Options
from pydantic import Field


class GptqOptions(Options):
    """Options of `gptq`."""

    layers: tuple[str, ...] = Field(("*",), description="Layers to round, names or globs.")
    exclude: tuple[str, ...] = Field((), description="Layers to leave alone, names or globs.")
    bits: int = Field(
        8, ge=2, le=16, description="Round layers whose weights have so many or less."
    )
    samples: int | None = Field(
        None, ge=1, description="Calibration samples to take, from the start; all by default."
    )
    damping: float = Field(
        0.01,
        gt=0.0,
        description="Share of the Hessian's mean diagonal added to it, at least; more where few"
        " samples ask for it.",
    )
    act_order: bool = Field(
        True, description="Round columns in the order of falling input power instead of as stored."
    )
    scales: Literal["hessian", "mse", "keep"] = Field(
        "hessian",
        description="Weight scales by the error weighted with the Hessian's diagonal, by plain"
        " squared error, or as the quantizer chose them.",
    )
    multiples: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(
        (1.0, 0.86, 0.93, 1.08, 1.16),
        min_length=1,
        description="Multiples of the first scale to round with; each output channel keeps what"
        " comes closest.",
    )
    refine: int = Field(
        4, ge=0, description="Passes of coordinate descent over the integers afterwards."
    )
    asymmetric: bool = Field(
        True,
        description="Aim at the float layer's output on the float network's own activations, and"
        " so at mending what earlier layers lost, too.",
    )
    ridge: Literal["auto"] | Annotated[float, Field(gt=0.0)] = Field(
        "auto",
        description="For asymmetric: how far to draw to the float weight, as a share of the"
        " Hessian's mean diagonal; auto chooses it by layer, by how well one half of the samples"
        " predicts the other.",
    )
    bias_correction: bool = Field(
        True, description="Give each output channel the mean that it has in full precision."
    )
