"""Turns progress events into a bar on a terminal and into plain lines elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from fewbits.hookspecs import hookimpl

if TYPE_CHECKING:
    from fewbits.cli.render import LiveBars

PLAIN_INTERVAL = 2.0


@dataclass
class _Task:
    started: float
    first: int


def plain_line(label: str, done: int, total: int | None, unit: str, rate: float) -> str:
    """Return one line on how far the work is.

    Args:
        label: what is being done.
        done: units done so far.
        total: how many there are; None when that is not known.
        unit: what is counted.
        rate: units per second; 0 when not known yet.

    >>> plain_line("calibrate", 64, 256, "images", 32.0)
    'calibrate: 64/256 images, 32 images/s, 0:06 left'
    >>> plain_line("read", 64, None, "images", 0.0)
    'read: 64 images'
    """
    parts = [f"{label}: {done}{'' if total is None else f'/{total}'} {unit}"]
    if rate > 0:
        parts.append(f"{rate:.3g} {unit}/s")
        if total is not None:
            left = round((total - done) / rate)
            parts.append(f"{left // 60}:{left % 60:02d} left")
    return ", ".join(parts)


class PlainLines:
    """Writes a line when work has gone on for two seconds, and then at most every two.

    Args:
        stream: where the lines go.
        clock: seconds, monotonic.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._tasks: dict[str, _Task] = {}
        self._last = clock()
        self._announced: threading.Timer | None = None

    def begin(self, what: str) -> None:
        """Take in that a piece of work begins; it is named once it has gone on for two seconds."""
        self.close()
        self._announced = _announce(what, self._stream, PLAIN_INTERVAL)

    def update(self, label: str, done: int, total: int | None, unit: str) -> None:
        """Take in one event."""
        now = self._clock()
        task = self._tasks.get(label)
        if task is None or done < task.first:
            task = self._tasks[label] = _Task(now, done)
            self._last = max(self._last, now)
        if now - self._last >= PLAIN_INTERVAL:
            self._last = now
            rate = (done - task.first) / (now - task.started) if now > task.started else 0.0
            print(plain_line(label, done, total, unit, rate), file=self._stream, flush=True)
        if total is not None and done >= total:
            self._tasks.pop(label, None)

    def close(self) -> None:
        """Leave unnamed what ended within two seconds."""
        if self._announced is not None:
            self._announced.cancel()
            self._announced.join()
            self._announced = None


@contextmanager
def line_if_long(what: str, stream: TextIO, seconds: float = PLAIN_INTERVAL) -> Iterator[None]:
    """Write `what` as one line when the block has gone on for `seconds`."""
    timer = _announce(what, stream, seconds)
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _announce(what: str, stream: TextIO, seconds: float) -> threading.Timer:
    """Start a timer that writes `what` as a line in `seconds`."""
    timer = threading.Timer(seconds, print, (what,), {"file": stream, "flush": True})
    timer.daemon = True
    timer.start()
    return timer


class ProgressPlugin:
    """The in-process plugin through which the command line hears the `progress` event.

    Args:
        stream: a terminal gets a bar, anything else plain lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: PlainLines | LiveBars | None = None

    @hookimpl
    def before_step(self, step: Any, index: int, total: int) -> None:
        """Name the step, which may take long without counting anything."""
        if self._shown is None:
            self._shown = self._open()
        self._shown.begin(f"{step.use} (step {index + 1} of {total})")

    @hookimpl
    def progress(self, label: str, done: int, total: int | None, unit: str) -> None:
        """Show how far the work is."""
        if self._shown is None:
            self._shown = self._open()
        self._shown.update(label, done, total, unit)

    @hookimpl
    def after_step(self, step: Any, index: int, total: int) -> None:
        """Put the bars of a finished step away."""
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._shown is not None:
            self._shown.close()
            self._shown = None

    def _open(self) -> "PlainLines | LiveBars":
        if self._stream.isatty():
            from fewbits.cli.render import LiveBars

            return LiveBars()
        return PlainLines(self._stream)
