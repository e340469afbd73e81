"""How many weights must get 4 bits for a share, a size or an average."""

from collections.abc import Mapping
from dataclasses import dataclass

from fewbits.cost import elements
from fewbits.errors import RecipeError
from fewbits.model import Model, Precision

from fewbits_mixed_precision.options import MixedPrecisionOptions, size_in_bytes

LOW = 4


@dataclass(frozen=True)
class Account:
    """Weights and bytes while every layer that may choose still has its bits.

    Args:
        weights: of all layers that run in integers, by layer.
        modes: their precision modes.
        size: bytes of the whole model.
        high: bits of a weight that may still be lowered.
    """

    weights: Mapping[str, int]
    modes: Mapping[str, Precision]
    size: int
    high: int

    @property
    def total(self) -> int:
        """Weights of all layers."""
        return sum(self.weights.values())

    def share(self, bits: int) -> float:
        """Return the share of the weights that have so many bits, in either operand."""
        found = (
            count
            for name, count in self.weights.items()
            if self.modes[name].weight_bits == bits
            or (bits == 16 and self.modes[name].activation_bits == bits)
        )
        return sum(found) / max(self.total, 1)

    def average(self, lowered: int = 0) -> float:
        """Return the bits of a weight on average when so many have been lowered."""
        held = sum(count * self.modes[name].weight_bits for name, count in self.weights.items())
        return (held - lowered * (self.high - LOW)) / max(self.total, 1)

    def bytes(self, lowered: int = 0) -> float:
        """Return the size of the model when so many weights have been lowered."""
        return self.size - lowered * (self.high - LOW) / 8

    def lowered(self, options: MixedPrecisionOptions) -> float:
        """Return how many weights must be lowered for what the options ask."""
        saved = self.high - LOW
        if options.size is not None:
            return (self.size - size_in_bytes(options.size)) * 8 / saved
        if options.bits is not None:
            return (self.average() - options.bits) * self.total / saved
        return ((options.ratio or 0.0) - self.share(LOW)) * self.total


def check_reachable(account: Account, options: MixedPrecisionOptions, most: int) -> None:
    """Raise RecipeError if lowering every layer that may be lowered is not enough.

    Args:
        account: before.
        options: what is asked.
        most: weights that may be lowered.
    """
    if account.lowered(options) <= most + 1e-6:
        return
    asked = next(
        f"{name}={getattr(options, name)}"
        for name in ("size", "bits", "ratio_4bit")
        if getattr(options, name) is not None
    )
    share = account.share(LOW) + most / max(account.total, 1)
    raise RecipeError(
        f"mixed_precision: {asked} cannot be reached. With every layer that may have them at"
        f" {LOW} bits, {share:.1%} of the weights have {LOW} bits, {account.average(most):.2f} bits"
        f" on average, and the model takes {account.bytes(most) / 1e6:.3g} MB.",
        hint="Ask for no more than that, pin fewer layers, or take out ratio_16bit.",
    )


def model_bytes(model: Model) -> int:
    """Return the bytes of all constants at the bits of their encodings, 32 without one."""
    bits = sum(
        elements(value) * (model.encodings[name].bits if name in model.encodings else 32)
        for name, value in model.graph.initializers.items()
    )
    return -(-bits // 8)
