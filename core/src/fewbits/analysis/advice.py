"""Remedies in words that can be typed, for the model and the target at hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fewbits.analysis.result import Row
from fewbits.interfaces import Target
from fewbits.model import Model, Precision
from fewbits.values import format_value


@dataclass(frozen=True)
class Advice:
    """What has been done to a model, and what else its target allows.

    Args:
        quantizer: the step that quantized it, as it is typed behind `-p`.
        options: of that step.
        steps: names of all steps so far.
        precisions: the target's precision modes.
        granularities: how the target can scale weights.
    """

    quantizer: str
    options: Mapping[str, Any]
    steps: frozenset[str]
    precisions: frozenset[Precision]
    granularities: frozenset[str]

    @classmethod
    def of(cls, model: Model, target: Target) -> "Advice":
        """Read it from a model's history and a target's limits."""
        made = [each for each in model.history if "precision" in each.options]
        use = made[-1].use if made else "quantize"
        return cls(
            "quantize" if use == "uniform" else use,
            made[-1].options if made else {},
            frozenset(each.use for each in model.history),
            target.spec.precisions,
            target.spec.granularities,
        )

    def wide_activations(self, row: Row) -> str:
        """Return how a place gets 16-bit activations; empty if it has them or cannot."""
        bits = self._bits(row)
        if bits.activation_bits == 16:
            return ""
        found = [p for p in self.precisions if p.activation_bits == 16]
        fitting = [p for p in found if p.weight_bits >= bits.weight_bits] or found
        return self._mode(row, fitting)

    def wide_weights(self, row: Row) -> str:
        """Return how a layer's weights get more bits; empty if they cannot."""
        bits = self._bits(row)
        same = [
            p
            for p in self.precisions
            if p.weight_bits > bits.weight_bits and p.activation_bits >= bits.activation_bits
        ]
        return self._mode(row, same) if row.weight else ""

    def better_rounding(self) -> str:
        """Return the steps that round weights better; empty if one of them has run."""
        ran = self.steps & {"adaround", "gptq", "qft"}
        return "" if ran else "-p gptq or -p adaround behind the quantizer"

    def equalize(self) -> str:
        """Return how channels are brought together; empty if that was done."""
        return "" if "equalization" in self.steps else "-p equalization before the quantizer"

    def option(self, text: str) -> str:
        """Return the quantizer's step with an option."""
        return f"-p {self.quantizer}:{text}"

    def _mode(self, row: Row, found: list[Precision]) -> str:
        if not found:
            return ""
        mode = min(found, key=lambda p: (p.activation_bits + p.weight_bits, p.weight_bits))
        if row.op_type == "input":
            return self.option(f"precision={mode}")
        return f"-p '{self.quantizer}:layers={format_value({row.layer: str(mode)})}'"

    def _bits(self, row: Row) -> Precision:
        activation = row.range.bits if row.range else 8
        return Precision(activation, row.weight.bits if row.weight else 8)


def first_of(*texts: str) -> str:
    """Return the remedies that there are, joined by `, or `.

    >>> first_of("", "-p ibc", "16 bits")
    '-p ibc, or 16 bits'
    """
    return ", or ".join(text for text in texts if text)
