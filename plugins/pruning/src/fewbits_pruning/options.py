"""Options of the algorithm `pruning`."""

from typing import Literal

from fewbits.options import Options
from pydantic import Field, field_validator, model_validator

from fewbits_pruning.selection import Pattern

DEFAULT_RATIO = 0.5


class PruningOptions(Options):
    """Options of `pruning`."""

    method: Literal["obs", "magnitude"] = Field(
        "obs",
        description="Prune what matters least to the layer's output and let the others make up for "
        "it (obs), or the smallest weights.",
    )
    ratio: float | None = Field(
        None, ge=0.0, lt=1.0, description="Share of weights to prune; 0.5 without a pattern."
    )
    pattern: str | None = Field(
        None,
        description="N:M, such as 2:4: at most N of M input channels in a row keep their weight; "
        "instead of a ratio.",
    )
    scope: Literal["layer", "global"] = Field(
        "layer", description="The ratio holds for each layer, or for all of them together."
    )
    layers: tuple[str, ...] = Field((), description="Layers to prune, names or globs; empty: all.")
    exclude: tuple[str, ...] = Field((), description="Layers to leave alone, names or globs.")
    small: bool = Field(
        False, description="Prune depthwise layers and layers that read a network input, too."
    )
    bias_correction: bool = Field(
        True, description="Let each bias make up for the mean of what is pruned."
    )
    damping: float = Field(
        0.01, gt=0.0, description="For obs: share of the Hessian's mean diagonal added to it."
    )

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, text: str | None) -> str | None:
        return None if text is None else str(Pattern.parse(text))

    @model_validator(mode="after")
    def _ratio_or_pattern(self) -> "PruningOptions":
        if self.pattern is not None and self.ratio is not None:
            raise ValueError("give a ratio or a pattern, not both")
        if self.pattern is not None and self.scope == "global":
            raise ValueError("a pattern holds for each layer; scope=global needs a ratio")
        return self
