"""What the search found, as tables that can be written down."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fewbits.provenance import LayerNote, Report
from numpy.typing import NDArray

from fewbits_mixed_precision.choice import Choice, evenly
from fewbits_mixed_precision.floor import Measured
from fewbits_mixed_precision.measures import decibels
from fewbits_mixed_precision.sensitivity import Sensitivity
from fewbits_mixed_precision.sizes import LOW, Account

#: rows of the front in a report.
ROWS = 24


@dataclass(frozen=True)
class Search:
    """All that was tried.

    Args:
        found: what 4 bits cost, for each layer that may have them.
        gains: what 16 bits save, by layer; empty where nobody asked.
        front: choices to choose from.
        account: weights and bytes before any of them.
        base: noise of each sample before any of them, `(samples,)`.
    """

    found: Sequence[Sensitivity]
    gains: Mapping[str, float]
    front: Sequence[Choice]
    account: Account
    base: NDArray[np.float64]

    def predicted(self, choice: Choice) -> float:
        """Return the mean SNR in dB that a choice is expected to have: noise powers add up."""
        noise = self.base.copy()
        for each, low in zip(self.found, choice.low, strict=True):
            if low:
                noise += each.noise
        return decibels(noise)

    def lowered(self, choice: Choice) -> list[str]:
        """Return the names of the layers that a choice gives 4 bits."""
        pairs = zip(self.found, choice.low, strict=True)
        return [each.layer for each, low in pairs if low]

    def row(self, choice: Choice) -> dict[str, float]:
        """Return a choice's line in the table of the front."""
        account = self.account
        share = account.share(LOW) + choice.elements / max(account.total, 1)
        return {
            "ratio_4bit": round(share, 4),
            "bits": round(account.average(choice.elements), 3),
            "bytes": round(account.bytes(choice.elements)),
            "predicted_snr_db": round(self.predicted(choice), 2),
        }

    def table(self) -> list[dict[str, float]]:
        """Return the front, at most `ROWS` lines of it."""
        return [self.row(choice) for choice in evenly(list(self.front), ROWS)]


def report(plain: Report, search: Search, choice: Choice, measured: Measured) -> Report:
    """Add to a quantizer's report what each layer's bits cost, the front and the choice.

    Args:
        plain: every layer with its mode.
        search: what was tried.
        choice: what was taken.
        measured: what the emulator says of it, on the samples of the search.
    """
    modes = Counter(note.values["precision"] for note in plain.layers if note.action == "quantized")
    row = search.row(choice)
    metrics: dict[str, Any] = {
        **plain.metrics,
        **row,
        "ratio_16bit": round(search.account.share(16), 4),
        "snr_db": round(measured.snr, 2),
        "samples": len(search.base),
        "pareto": search.table(),
    }
    if measured.drop is not None:
        metrics["top1_drop"] = round(measured.drop, 2)
    counted = ", ".join(f"{count} layers at {mode}" for mode, count in sorted(modes.items()))
    summary = (
        f"{counted}; {row['ratio_4bit']:.1%} of the weights at 4 bits, {row['bits']:.2f} bits on"
        f" average, {row['bytes'] / 1e6:.3g} MB, SNR {measured.snr:.1f} dB before any recovery"
    )
    return replace(plain, summary=summary, layers=_notes(plain, search), metrics=metrics)


def _notes(plain: Report, search: Search) -> tuple[LayerNote, ...]:
    values: dict[str, dict[str, Any]] = {}
    for each in search.found:
        values[each.layer] = {
            "weights": each.elements,
            "alone_snr_db": round(decibels(each.noise), 2),
        }
        if each.loss is not None:
            values[each.layer]["alone_loss"] = round(each.loss, 6)
    for name, gain in search.gains.items():
        values.setdefault(name, {})["gain_16bit"] = float(f"{gain:.4g}")
    return tuple(
        replace(note, values={**note.values, **values.get(note.layer, {})}) for note in plain.layers
    )
