"""How the noise analysis looks: a table of the layers, and below it what is the matter."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fewbits.cli.flags import Answer

if TYPE_CHECKING:
    from fewbits.analysis import Analysis, Diagnosis, Row

#: findings of one rule that are shown; the others are counted.
SHOWN = 5
#: where fewer do.
_FEWER = {"inherited": 1, "dead": 2}
_UNITS = (
    "SNR, weights and activations in dB; weights and activations: what rounding either alone"
    " leaves. bits: of the activation, and how many of them 99.9 % of its values use."
)


def show(found: "Analysis", answer: Answer) -> None:
    """Print the analysis."""
    from fewbits.cli import render

    if answer.json:
        render.print_json(found.to_dict())
    elif not answer.quiet:
        origin = f"{found.mode}, {found.images} images, numerics of {found.target}"
        render.heading(found.model, origin)
        columns, rows = table(found)
        render.table(columns, rows, right=columns[columns.index("mode") + 1 :])
        if found.outputs:
            ends = ", ".join(f"{name} {snr:.1f} dB" for name, snr in found.outputs.items())
            render.text(f"outputs: {ends}")
        if found.mode == "advanced":
            render.text(f"most of the noise at the outputs: {most(found)}")
        render.text(_UNITS, style="dim")
        for line in findings(found):
            render.text(line)


def table(found: "Analysis") -> tuple[list[str], list[list[Any]]]:
    """Return headings, and a line for each layer."""
    own = ["SNR", "lost here"] if found.mode == "simple" else ["at outputs", "share", "own SNR"]
    columns = ["layer", "op", "mode", *own, "weights", "activations"]
    columns += ["range", "seen", "clipped", "bits"]
    lines = [_line(row) for row in found.rows]
    if not found.names:
        return columns, lines
    named = [[found.names.get(line[0], ""), *line] for line in lines]
    return [f"on {found.target}", *columns], named


def most(found: "Analysis", count: int = 5) -> str:
    """Return the layers that make most of the noise at the outputs, with their shares."""
    shares = {row.layer: row.alone.share for row in found.rows if row.alone is not None}
    ordered = sorted(shares, key=lambda name: -shares[name])
    return ", ".join(f"{name} {shares[name]:.1%}" for name in ordered[:count])


def _line(row: "Row") -> list[Any]:
    weights = None if row.weight is None else row.weight.snr_db
    if row.alone is None:
        own = [_db(row.snr_db), _db(row.drop_db)]
    else:
        weights = row.alone.weights_snr_db
        own = [
            _db(row.alone.output_snr_db),
            f"{row.alone.share:.1%}",
            _db(row.alone.own_snr_db),
        ]
    head = [row.layer, row.op_type, row.precision, *own, _db(weights)]
    fit = row.range
    if fit is None:
        return [*head, *[""] * 5]
    ends = [f"{fit.low:.3g} … {fit.high:.3g}", f"{fit.seen_low:.3g} … {fit.seen_high:.3g}"]
    bits = f"{fit.bits_used:.1f}/{fit.bits}"
    return [*head, _db(fit.snr_db), *ends, _share(fit.clipped), bits]


def findings(found: "Analysis") -> Iterator[str]:
    """Yield the lines that say what is the matter; of one rule, the first few."""
    if not found.diagnoses:
        yield "nothing is the matter"
        return
    total = Counter(each.rule for each in found.diagnoses)
    told: Counter[str] = Counter()
    for each in found.diagnoses:
        told[each.rule] += 1
        shown = _FEWER.get(each.rule, SHOWN)
        if told[each.rule] <= shown:
            yield from _said(each)
        elif told[each.rule] == shown + 1:
            yield f"    … and {total[each.rule] - shown} more like it; --json shows all"


def _said(each: "Diagnosis") -> Iterator[str]:
    yield f"{each.layer}: {each.what}"
    if each.remedy:
        yield f"    → {each.remedy}"


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _share(value: float) -> str:
    return "" if value < 0.00005 else f"{value:.2%}"
