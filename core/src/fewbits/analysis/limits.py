"""From where on the analysis says something of a layer."""

from pydantic import Field

from fewbits.options import Options


class Limits(Options):
    """Thresholds of the diagnoses."""

    snr: float = Field(
        default=10.0, description="SNR in dB below which a layer or an output is named."
    )
    drop: float = Field(
        default=10.0,
        gt=0.0,
        description="Fall of the SNR in dB from a layer's inputs to its output.",
    )
    share: float = Field(
        default=0.1,
        gt=0.0,
        le=1.0,
        description="Share of the noise at the outputs that one layer makes.",
    )
    unused_bits: float = Field(
        default=2.0,
        gt=0.0,
        description="Bits of an activation that 99.9 % of its values leave unused.",
    )
    clipped: float = Field(
        default=0.005,
        ge=0.0,
        le=1.0,
        description="Share of an activation's values that are cut off.",
    )
    clipped_output: float = Field(
        default=0.001,
        ge=0.0,
        le=1.0,
        description="The same where the network's outputs are concerned.",
    )
    spread: float = Field(
        default=16.0,
        gt=1.0,
        description="Largest channel over the median one, of an activation, or of a weight that "
        "has one scale in all.",
    )
    concat: float = Field(
        default=4.0, gt=1.0, description="Widest over narrowest range of what a Concat joins."
    )
    swish_steps: float = Field(
        default=16.0,
        gt=0.0,
        description="Integers that the negative part of a swish gets, at least.",
    )
    shift: float = Field(
        default=0.25,
        gt=0.0,
        le=1.0,
        description="Share of a layer's noise that is a shift of its means.",
    )
    dead: float = Field(
        default=0.1, gt=0.0, le=1.0, description="Share of a layer's channels that never change."
    )
    logit_step: float = Field(
        default=0.1, gt=0.0, description="Step of what a Sigmoid or Softmax reads, at most."
    )
    watch: float = Field(
        default=20.0,
        description="SNR in dB from which on a layer is well enough: what only may do harm (drop, "
        "unused bits, spread, depthwise, 4 bits at the ends, a shift) is named below it alone.",
    )
