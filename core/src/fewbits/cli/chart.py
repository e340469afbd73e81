"""The SNR of each layer as a picture: SVG as text, no library."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewbits.analysis import Analysis

_BAR, _GAP, _LEFT, _TOP, _WIDTH = 12, 4, 300, 48, 480
_EDGE = 60
_STEP = 10


def write(found: "Analysis", path: Path) -> None:
    """Draw an analysis into a file."""
    from fewbits.atomic import write_bytes

    write_bytes(path, chart(found).encode())


def chart(found: "Analysis") -> str:
    """Return a picture with a bar for each layer: its SNR, or that at the outputs with it alone."""
    bars = [
        (row.layer, row.snr_db if row.alone is None else row.alone.output_snr_db)
        for row in found.rows
    ]
    known = [(name, max(snr or 0.0, 0.0)) for name, snr in bars]
    top = max([_STEP, *(snr for _, snr in known if snr < 100.0)])
    height = _TOP + len(known) * (_BAR + _GAP) + _GAP
    what = "SNR in dB" if found.mode == "simple" else "SNR at the outputs in dB, that layer alone"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + _EDGE} {height}"'
        ' font-family="sans-serif" font-size="10">',
        f'<rect width="{_LEFT + _WIDTH + _EDGE}" height="{height}" fill="white"/>',
        _text(8, 16, f"{found.model}: {what}, {found.images} images, {found.target}", "start"),
        *_grid(top, height),
    ]
    for place, (name, snr) in enumerate(known):
        lines += _bar(name, snr, top, _TOP + place * (_BAR + _GAP))
    return "\n".join([*lines, "</svg>", ""])


def _grid(top: float, height: int) -> Iterator[str]:
    for db in range(0, int(top) + 1, _STEP):
        x = round(_LEFT + _WIDTH * db / top, 1)
        yield f'<line x1="{x}" y1="{_TOP - 6}" x2="{x}" y2="{height}" stroke="#dddddd"/>'
        yield _text(x, _TOP - 10, str(db), "middle")


def _bar(name: str, snr: float, top: float, y: int) -> Iterator[str]:
    length = round(_WIDTH * min(snr / top, 1.0), 1)
    colour = "#d62728" if snr < _STEP else "#1f77b4"
    yield _text(_LEFT - 6, y + _BAR - 2, name[-48:], "end")
    yield f'<rect x="{_LEFT}" y="{y}" width="{length}" height="{_BAR}" fill="{colour}"/>'
    yield _text(_LEFT + length + 4, y + _BAR - 2, f"{snr:.1f}", "start")


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
