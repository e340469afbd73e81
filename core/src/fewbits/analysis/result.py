"""What the analysis says of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any


@dataclass(frozen=True)
class Range:
    """How an activation fits its grid.

    Args:
        low: smallest value that can be represented.
        high: largest value that can be represented.
        seen_low: smallest value of the float model on the samples.
        seen_high: largest value of the float model on the samples.
        clipped: share of the float model's values that lie outside.
        bits: of the grid.
        bits_used: log2 of the number of integers that 99.9 % of the values fall on.
        step: real value of one integer step.
        snr_db: what rounding and clipping the float values leaves, in dB.
    """

    low: float
    high: float
    seen_low: float
    seen_high: float
    clipped: float
    bits: int
    bits_used: float
    step: float
    snr_db: float


@dataclass(frozen=True)
class Channels:
    """How channels differ.

    Args:
        count: how many there are.
        still: how many never change on the samples.
        spread: largest peak over the median one, of the float model's values.
    """

    count: int
    still: int
    spread: float


@dataclass(frozen=True)
class Weight:
    """How a layer's weight fits its grid.

    Args:
        bits: of the grid.
        per_channel: whether each output channel has a scale of its own.
        snr_db: `10 · log10(Σ W² / Σ (W − W_q)²)` in dB.
        spread: largest peak of an output channel over the median one.
    """

    bits: int
    per_channel: bool
    snr_db: float
    spread: float


@dataclass(frozen=True)
class Alone:
    """What one place costs when everything else is in float, in dB.

    Args:
        output_snr_db: at the network's outputs.
        share: of the noise that all places measured alone make there together.
        own_snr_db: at its own output.
        weights_snr_db: there, its weight and bias quantized and its output not; None without a
            weight. The other way round is `Range.snr_db`.
    """

    output_snr_db: float
    share: float
    own_snr_db: float
    weights_snr_db: float | None


@dataclass(frozen=True)
class Row:
    """One place: a layer, another op with a grid of its own, or an input.

    Args:
        layer: the node's name, or the input's.
        op_type: Conv, Add, …; `input` for an input.
        tensor: what it writes.
        precision: a layer's mode, `a8` for another op, `float` for what is not quantized.
        traits: what the graph says of it: `first`, `last`, `depthwise`, `swish`, `concat`, ….
        snr_db: at its output with everything quantized; None in mode `advanced`.
        input_snr_db: the lowest of what it reads; None where that is exact, or not measured.
        shift_share: share of its noise that is a shift of channels' means; None if not measured.
        range: None where the output is in float.
        channels: of its output.
        weight: None without one.
        input_ranges: place → width of the range, of what it reads.
        feeds: the nodes right before it.
        alone: in mode `advanced`.
    """

    layer: str
    op_type: str
    tensor: str
    precision: str
    traits: frozenset[str]
    snr_db: float | None
    input_snr_db: float | None
    shift_share: float | None
    range: Range | None
    channels: Channels
    weight: Weight | None
    input_ranges: Mapping[str, float]
    feeds: tuple[str, ...] = ()
    alone: Alone | None = None

    @property
    def drop_db(self) -> float | None:
        """By how much the SNR falls from its inputs to its output; None where not measured."""
        if self.snr_db is None or self.input_snr_db is None:
            return None
        return self.input_snr_db - self.snr_db

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON knows it."""
        flat = {each.name: getattr(self, each.name) for each in fields(self)}
        flat["traits"] = sorted(self.traits)
        flat["input_ranges"] = dict(self.input_ranges)
        for name in ("range", "channels", "weight", "alone"):
            flat[name] = None if flat[name] is None else _finite(vars(flat[name]))
        return {**_finite(flat), "drop_db": self.drop_db}


@dataclass(frozen=True)
class Diagnosis:
    """Something that costs accuracy, and what helps.

    Args:
        rule: which one found it; its limit stands in `Limits`.
        layer: where.
        what: what is the matter, with the figure.
        remedy: what helps: an option or a command.
    """

    rule: str
    layer: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Analysis:
    """Where a quantized model's noise arises.

    Args:
        mode: `simple` or `advanced`.
        model: its name.
        target: whose numerics it was measured with.
        images: how many samples were seen.
        outputs: output → SNR in dB with everything quantized; empty in mode `advanced`.
        rows: places in graph order.
        diagnoses: what was found, worst first.
        names: layer → name that the device's own tools give it; empty where they give none.
    """

    mode: str
    model: str
    target: str
    images: int
    outputs: Mapping[str, float]
    rows: tuple[Row, ...]
    diagnoses: tuple[Diagnosis, ...]
    names: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON knows it."""
        return {
            "mode": self.mode,
            "model": self.model,
            "target": self.target,
            "images": self.images,
            "outputs": dict(self.outputs),
            "names": dict(self.names),
            "layers": [row.to_dict() for row in self.rows],
            "diagnoses": [vars(each) for each in self.diagnoses],
        }


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in values.items()}
