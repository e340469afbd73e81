"""Options of `qft`."""

from typing import Literal

from fewbits.options import Options
from pydantic import Field, model_validator

Degree = Literal["weights", "biases", "weight_scales", "activation_scales", "factors"]
Variation = Literal["flip", "mix", "shift"]


class QftOptions(Options):
    """Options of `qft`; the names that Hailo's `finetune` has mean the same here."""

    epochs: int = Field(4, ge=1, description="Rounds of training.")
    dataset_size: int = Field(
        1024, ge=1, description="Samples a round; where there are fewer, they come again, varied."
    )
    batch_size: int = Field(16, ge=1, description="Samples a step, over all processes.")
    learning_rate: float = Field(
        0.01,
        gt=0.0,
        description="Adam's largest step of weights and biases, in steps of their layer's grids.",
    )
    scale_learning_rate: float = Field(
        1e-3, gt=0.0, description="The same of the logarithms of scales and of factors."
    )
    warmup_epochs: float = Field(0.25, ge=0.0, description="Rounds in which the steps grow.")
    cycles: int = Field(1, ge=1, description="How often the cosine falls, each from half as high.")
    dampening: float = Field(
        3.0,
        ge=0.0,
        description="How strongly weights are drawn to their integers at the end, from 0 at the "
        "start, in parts of the loss that training starts from.",
    )
    train: list[Degree] = Field(
        ["weights", "biases", "weight_scales", "activation_scales", "factors"],
        description="Degrees of freedom that move; the others are locked.",
    )
    layers: list[str] = Field(
        [],
        description="Layers whose weights, biases and scales move: names or globs; all if empty.",
    )
    loss_type: Literal["l2rel", "l2", "cosine"] = Field(
        "l2rel", description="How far a tensor is from the float network's."
    )
    loss_layer_names: list[str] = Field(
        [],
        description="Layers or tensors that are compared; the backbone's output, before global "
        "pooling, and the network's outputs if empty.",
    )
    loss_factors: list[float] = Field(
        [], description="Weight of each of `loss_layer_names`; 1 if empty."
    )
    augment: list[Variation] = Field(
        ["flip", "mix"],
        description="How samples vary: flip pictures, mix each with another, shift pictures.",
    )
    val_images: int = Field(
        32, ge=0, description="Samples held out to choose the best state by; a quarter at most."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="What products are computed in while training: auto is float32 on a CPU, where "
        "it was measured to be faster, and bfloat16 on a GPU. Judged is in whole numbers.",
    )
    device: str = Field(
        "auto", description="cpu, cuda, cuda:1, …; auto takes a GPU if there is one."
    )

    @model_validator(mode="after")
    def _one_factor_each(self) -> "QftOptions":
        if self.loss_factors and len(self.loss_factors) != len(self.loss_layer_names):
            raise ValueError("loss_factors must hold one number for each of loss_layer_names")
        return self
