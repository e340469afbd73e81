"""What is known of Hailo's devices, and what stands in for what is not: ONE table.

Hailo publishes neither accumulator widths nor rounding. Each field says where it comes from and how
sure it is: `stated` by Hailo, `second-hand` (what users of its tools report), or `inferred` (what
fits all that is known, or is merely assumed). Whoever learns better mends the field here: targets,
emulator, checks and docs all read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal

Certainty = Literal["stated", "second-hand", "inferred"]

SCHEME = "hailo.ai, support lesson 'Hailo Quantization Scheme'"
ZOO = "hailo_model_zoo, scripts and docs"
BRIEF = "Hailo's product briefs"
HAILORT = "HailoRT, hailo/quantization.hpp, quantize_input"
SIXTEEN = "community.hailo.ai/t/16-bit-quantization/18395"
VIT = "community.hailo.ai/t/strange-behavior-with-quantization/9698"
DFC = "error texts of the Dataflow Compiler, as its users quote them"
NONE = "not published"


@dataclass(frozen=True)
class Fact:
    """One field of a row.

    Args:
        value: what fewbits goes by.
        source: where it comes from.
        certainty: how sure it is.
    """

    value: Any
    source: str
    certainty: Certainty


@dataclass(frozen=True)
class Device:
    """One architecture, as `--hw-arch` names it: a row of the table.

    Args:
        name: `hailo8`, `hailo15h`, ….
        title: what Hailo calls it.
        peak: trillions of operations a second, as Hailo gives it.
        precisions: precision modes.
        activation_bits: how many of 16 bits an activation uses.
        wide_products: whether both inputs of a matrix product may be computed with 16 bits.
        bias_bits: width of the bias and of the accumulator of an 8-bit layer.
        weights: how weights are scaled.
        input_rounding: whether the zero point of an input is added before it is rounded.
        multiplier_bits: mantissa of a requantization's multiplier.
        left_shift: how far a result may be shifted left, by width of the data.
        shift_spread: how far the shifts of one layer's channels may lie apart.
        factor_bits: of the factors by which the two sides of a sum are weighted.
        exponential_bits: of the exponentials that a softmax adds up.
    """

    name: str
    title: str
    peak: Fact
    precisions: Fact
    activation_bits: Fact
    wide_products: Fact
    bias_bits: Fact
    weights: Fact
    input_rounding: Fact
    multiplier_bits: Fact
    left_shift: Fact
    shift_spread: Fact
    factor_bits: Fact
    exponential_bits: Fact

    @property
    def facts(self) -> Mapping[str, Fact]:
        """Field → what is gone by."""
        held = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: fact for name, fact in held if isinstance(fact, Fact)}


_COMMON: Mapping[str, Fact] = MappingProxyType(
    {
        "precisions": Fact(("a8_w8", "a8_w4", "a16_w8", "a16_w16"), ZOO, "second-hand"),
        "activation_bits": Fact(15, SIXTEEN, "second-hand"),
        "bias_bits": Fact(32, NONE, "inferred"),
        "weights": Fact("per_channel", NONE, "inferred"),
        "input_rounding": Fact("after the zero point", HAILORT, "stated"),
        "multiplier_bits": Fact(16, NONE, "inferred"),
        "left_shift": Fact(MappingProxyType({8: 8, 16: 16}), DFC, "inferred"),
        "shift_spread": Fact(2, DFC, "inferred"),
        "factor_bits": Fact(12, NONE, "inferred"),
        "exponential_bits": Fact(15, NONE, "inferred"),
    }
)
_NARROW = Fact(False, VIT, "second-hand")
_WIDE = Fact(True, NONE, "inferred")


def _device(name: str, title: str, peak: str, wide_products: Fact, source: str = BRIEF) -> Device:
    sure: Certainty = "stated" if peak != "unknown" else "inferred"
    return Device(
        name,
        title,
        peak=Fact(peak, source if sure == "stated" else NONE, sure),
        wide_products=wide_products,
        **_COMMON,
    )


DEVICES = (
    _device("hailo8", "Hailo-8", "26", _NARROW),
    _device("hailo8r", "Hailo-8R", "unknown", _NARROW),
    _device("hailo8l", "Hailo-8L", "13", _NARROW),
    _device("hailo10h", "Hailo-10H", "20 at 8 bits, 40 at 4 bits", _WIDE),
    _device("hailo15h", "Hailo-15H", "unknown", _WIDE),
    _device("hailo15m", "Hailo-15M", "unknown", _WIDE),
    _device("hailo15l", "Hailo-15L", "unknown", _WIDE),
    _device("hailo12l", "Hailo-12L", "unknown", _WIDE),
)


def device_called(name: str) -> Device:
    """Return the row of that name."""
    return next(device for device in DEVICES if device.name == name)
