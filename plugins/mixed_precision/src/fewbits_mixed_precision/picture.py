"""The Pareto front as a picture: SVG as text, no library."""

from collections.abc import Sequence
from html import escape

import numpy as np

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 40, 56
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)

Points = Sequence[tuple[float, float]]


def front_svg(front: Points, chosen: tuple[float, float], title: str) -> str:
    """Return a picture of SNR over model size.

    Args:
        front: (megabytes, dB) of each choice, predicted.
        chosen: (megabytes, dB) of the one taken, measured.
        title: above it.
    """
    xs, ys = (np.array(axis) for axis in zip(*front, chosen, strict=True))
    x_ticks, y_ticks = ticks(xs.min(), xs.max()), ticks(ys.min(), ys.max())

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return round(_LEFT + across * wide, 1), round(_HEIGHT - _BOTTOM - up * high, 1)

    lines = [_text(_LEFT, 24, title, "start")]
    for x in x_ticks:
        lines += _grid(place(x, y_ticks[0]), place(x, y_ticks[-1]))
        lines.append(_text(place(x, 0)[0], _HEIGHT - _BOTTOM + 18, f"{x:g}", "middle"))
    for y in y_ticks:
        lines += _grid(place(x_ticks[0], y), place(x_ticks[-1], y))
        lines.append(_text(_LEFT - 8, place(0, y)[1] + 4, f"{y:g}", "end"))
    lines.append(_text(_WIDTH / 2, _HEIGHT - 12, "size in MB", "middle"))
    lines.append(_text(_LEFT, _TOP - 4, "SNR of the outputs in dB", "start"))
    path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in front))
    lines.append(f'<polyline points="{path}" fill="none" stroke="#1f77b4" stroke-width="2"/>')
    lines += [_dot(place(*point), "#1f77b4", 3, "predicted", point) for point in front]
    lines.append(_dot(place(*chosen), "#d62728", 6, "chosen, measured", chosen))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">'
    )
    white = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    return "\n".join([head, white, *lines, "</svg>", ""])


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Return round numbers, evenly spaced, that begin at or below `low` and end at or above `high`.

    >>> ticks(1.2, 4.7)
    [1.0, 2.0, 3.0, 4.0, 5.0]
    """
    span = max(high - low, 1e-6 * max(abs(high), 1.0))
    power = 10.0 ** np.floor(np.log10(span / about))
    step = next(s * power for s in _STEPS if s * power * about >= span)
    first, last = np.floor(low / step), np.ceil(high / step)
    return [float(round(k * step, 10)) for k in np.arange(first, max(last, first + 1) + 1)]


def _grid(start: tuple[float, float], end: tuple[float, float]) -> list[str]:
    return [f'<line x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}" stroke="#dddddd"/>']


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def _dot(
    place: tuple[float, float], colour: str, radius: int, kind: str, point: tuple[float, float]
) -> str:
    label = f"{kind}: {point[0]:.3g} MB, {point[1]:.1f} dB"
    return (
        f'<circle cx="{place[0]}" cy="{place[1]}" r="{radius}" fill="{colour}">'
        f"<title>{label}</title></circle>"
    )
