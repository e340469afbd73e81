"""Progress: a bar on a terminal, at most one plain line every two seconds elsewhere."""

import io
import re
import threading

from fewbits.cli.progress import PlainLines, ProgressPlugin, line_if_long
from fewbits.plugins import Registry
from fewbits.recipe import Step


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drive(seconds, total, step=0.25, rate=8.0):
    """Report for `seconds` at `rate` units a second; return the lines written."""
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    for tick in range(int(seconds / step) + 1):
        clock.now = 100.0 + tick * step
        lines.update("calibrate", int(tick * step * rate), total, "images")
    return stream.getvalue().splitlines()


def test_work_under_two_seconds_says_nothing():
    assert drive(1.75, 100) == []


def test_a_line_every_two_seconds_with_rate_and_time_left():
    assert drive(6.0, 80) == [
        "calibrate: 16/80 images, 8 images/s, 0:08 left",
        "calibrate: 32/80 images, 8 images/s, 0:06 left",
        "calibrate: 48/80 images, 8 images/s, 0:04 left",
    ]


def test_without_a_total_there_is_no_time_left():
    assert drive(2.0, None) == ["calibrate: 16 images, 8 images/s"]


def test_two_kinds_of_work_at_once_share_the_two_seconds():
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    for tick in range(17):
        clock.now = 100.0 + tick * 0.25
        lines.update("outer", tick, 100, "layers")
        lines.update("inner", tick * 2, 100, "images")
    assert len(stream.getvalue().splitlines()) == 2


def test_the_next_round_of_the_same_work_has_its_own_rate():
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    lines.update("evaluate", 0, 10, "images")
    clock.now += 1.0
    lines.update("evaluate", 10, 10, "images")
    clock.now += 100.0
    lines.update("evaluate", 0, 10, "images")
    clock.now += 4.0
    lines.update("evaluate", 4, 10, "images")
    assert stream.getvalue().splitlines()[-1] == "evaluate: 4/10 images, 1 images/s, 0:06 left"


def test_no_control_codes_where_there_is_no_terminal():
    registry, stream = Registry(), io.StringIO()
    reporter = ProgressPlugin(stream)
    registry.register(reporter, "progress-under-test")
    for done in range(5):
        registry.progress("calibrate", done, 4, "images")
    reporter.close()
    assert re.search(r"[\x1b\r]", stream.getvalue()) is None


def test_work_that_cannot_be_counted_says_what_it_is_when_it_takes_long():
    stream = io.StringIO()
    with line_if_long("reading net.onnx", stream, seconds=60):
        pass
    assert stream.getvalue() == ""
    written = threading.Event()
    stream.flush = written.set
    with line_if_long("reading net.onnx", stream, seconds=0):
        assert written.wait(60)
    assert stream.getvalue() == "reading net.onnx\n"


def test_a_step_that_counts_nothing_is_named_when_it_takes_long(monkeypatch):
    monkeypatch.setattr("fewbits.cli.progress.PLAIN_INTERVAL", 0.0)
    stream, written, registry = io.StringIO(), threading.Event(), Registry()
    stream.flush = written.set
    reporter = ProgressPlugin(stream)
    registry.register(reporter, "progress-under-test")
    registry.before_step(Step("equalization"), 0, 2, None)
    assert written.wait(60)
    reporter.close()
    assert stream.getvalue() == "equalization (step 1 of 2)\n"


def test_a_step_that_ends_soon_is_not_named():
    stream, registry, before = io.StringIO(), Registry(), threading.active_count()
    reporter = ProgressPlugin(stream)
    registry.register(reporter, "progress-under-test")
    registry.before_step(Step("quantize"), 0, 1, None)
    assert threading.active_count() == before + 1
    registry.after_step(Step("quantize"), 0, 1, None, None)
    assert threading.active_count() == before
    assert stream.getvalue() == ""


def test_a_terminal_shows_the_step_from_its_beginning(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    reporter = ProgressPlugin(terminal)
    reporter.before_step(Step("equalization"), 0, 2)
    reporter.close()
    assert "equalization (step 1 of 2)" in terminal.getvalue()


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    registry = Registry()
    reporter = ProgressPlugin(terminal)
    registry.register(reporter, "progress-under-test")
    for done in range(4):
        registry.progress("calibrate", done, 4, "images")
    reporter.close()
    before, _, after = terminal.getvalue().rpartition("3/4 images")
    assert "calibrate" in before
    assert "\x1b[2K" in after
    assert "calibrate" not in after
