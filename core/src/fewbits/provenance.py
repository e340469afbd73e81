"""What is written down about each step that made a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LayerNote:
    """What a step did to one layer, or why it left it alone.

    Args:
        layer: the layer's name (the node's name in the graph).
        action: one word or two, such as `equalized`, `skipped`, `quantized`.
        reason: why, whenever the layer was left alone; may be empty otherwise.
        values: figures worth showing, JSON-able.
    """

    layer: str
    action: str
    reason: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What a step says it did.

    Args:
        changed: whether the returned model differs from the one passed in.
        summary: one sentence for the terminal.
        layers: one note per layer touched or left alone.
        metrics: figures of the whole step, JSON-able.
    """

    changed: bool
    summary: str = ""
    layers: tuple[LayerNote, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepRecord:
    """One line of a model's history: enough to run the step again and compare.

    Args:
        use: the component's name.
        distribution: the pip distribution it came from.
        version: that distribution's version.
        options: resolved options, defaults included, JSON-able.
        seed: the seed the run was started with.
        data: how the calibration data was opened (path, count, preprocess, digest); empty if none.
        target: the hardware target's name.
        input_digest: digest of the model that went in.
        output_digest: digest of the model that came out.
        seconds: how long it took.
        report: what the step said.
        level: the levels that the recipe stood for, and what was lowered; empty if its steps were
            named.
        edits: which end of the network the step changed on purpose, `inputs` or `outputs`; empty
            for all others.
    """

    use: str
    distribution: str
    version: str
    options: Mapping[str, Any]
    seed: int
    data: Mapping[str, Any]
    target: str
    input_digest: str
    output_digest: str
    seconds: float
    report: Report
    level: Mapping[str, Any] = field(default_factory=dict)
    edits: str = ""
