"""Measures a quantized model in one of two modes and says what is the matter."""

from collections.abc import Iterator, Mapping, Sequence

from fewbits.analysis.advanced import advanced
from fewbits.analysis.advice import Advice
from fewbits.analysis.limits import Limits
from fewbits.analysis.passes import Pass
from fewbits.analysis.places import Place, places
from fewbits.analysis.result import Analysis, Diagnosis, Row
from fewbits.analysis.rules import RULES
from fewbits.analysis.simple import simple
from fewbits.data import Dataset
from fewbits.errors import DataError, ModelError, UsageError, nearest
from fewbits.interfaces import Finding, Progress, Target, silent
from fewbits.model import Model
from fewbits.noise import float_origin
from fewbits.selection import matched

MODES = ("simple", "advanced")
_OTHER_LEVELS = (
    "a higher --optimization-level or a lower --compression-level; `fewbits tune` tries them"
)


def analyze(
    model: Model,
    dataset: Dataset,
    target: Target,
    *,
    mode: str = "simple",
    layers: Sequence[str] = (),
    limits: Limits | None = None,
    batch_size: int = 2,
    threads: int | None = None,
    progress: Progress = silent,
) -> Analysis:
    """Measure where a quantized model's noise arises.

    Args:
        model: at stage `quantized`, with the float model it came from among its ancestors.
        dataset: samples; labels are not used.
        target: the device; in mode `simple` its emulator runs the model.
        mode: `simple`: everything quantized, measured at every place, each image once through the
            emulator and once through the float model. `advanced`: one place quantized at a time,
            its weights and what it writes, measured at the outputs.
        layers: names or globs of the places to show, and in mode `advanced` to try; all if none.
            The device's own names will do, too.
        limits: from where on something is said.
        batch_size: samples per run.
        threads: threads of the runtime; None lets it choose.
        progress: told after each batch, or each place.

    Raises:
        UsageError: an unknown mode.
        RecipeError: a glob matches no layer.
        DataError: there are no samples.
        ModelError: the model is not quantized.
        TargetError: the target's emulator does not return what is to be measured.
    """
    if mode not in MODES:
        raise UsageError(f"There is no mode '{mode}'.", hint=nearest(mode, MODES))
    float_origin(model)
    found = _places(model)
    if not len(dataset):
        raise DataError("There are no samples to measure on.", hint="Give at least one.")
    own = target.layer_names(model)
    chosen = _chosen(layers, found, own)
    how = Pass(batch_size, threads, progress)
    outputs: Mapping[str, float] = {}
    if mode == "simple":
        rows, outputs = simple(model, found, dataset, target, how)
        rows = [row for row in rows if row.layer in chosen]
    else:
        wanted = [place for place in found if place.name in chosen]
        rows = advanced(model, found, wanted, dataset, how)
    bounds, advice = limits or Limits(), Advice.of(model, target)
    said = [*_of_outputs(outputs, bounds), *_of_rows(rows, bounds, advice)]
    said += _of_target(target.check(model), chosen if layers else None)
    return Analysis(
        mode,
        model.name,
        target.name,
        len(dataset),
        outputs,
        tuple(rows),
        tuple(said),
        own,
    )


def _places(model: Model) -> list[Place]:
    found = places(model)
    if not found:
        raise ModelError(
            f"{model.name} has nothing that is quantized.", hint="Quantize it for another target."
        )
    return found


def _chosen(layers: Sequence[str], found: Sequence[Place], own: Mapping[str, str]) -> set[str]:
    """Return the names of the places that globs match, by those names or by the device's own."""
    names = [place.name for place in found]
    hits = matched(layers or ["*"], [*names, *own.values()], "analyze")
    return {name for name in names if name in hits or own.get(name) in hits}


def _of_outputs(outputs: Mapping[str, float], limits: Limits) -> Iterator[Diagnosis]:
    for name, snr in outputs.items():
        if snr < limits.snr:
            what = f"an output with SNR {snr:.1f} dB, below {limits.snr:g}"
            yield Diagnosis("snr", name, what, _OTHER_LEVELS)


def _of_rows(rows: Sequence[Row], limits: Limits, advice: Advice) -> Iterator[Diagnosis]:
    """Yield what the rules say, rule by rule, the layers that lose most first."""
    ordered = sorted(rows, key=_loss, reverse=True)
    for rule in RULES:
        for row in ordered:
            found = rule(row, limits, advice)
            if found is not None:
                yield found


def _loss(row: Row) -> float:
    if row.alone is not None:
        return row.alone.share
    return 0.0 if row.drop_db is None else row.drop_db


def _of_target(findings: Sequence[Finding], chosen: set[str] | None) -> Iterator[Diagnosis]:
    """Yield what the target says of the model: limits of its requantization among them."""
    for each in findings:
        if chosen is None or each.layer in chosen:
            yield Diagnosis("target", each.layer, each.limit, each.remedy)
