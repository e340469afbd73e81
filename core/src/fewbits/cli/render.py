"""How things look on a terminal; the only file that knows rich."""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fewbits.errors import FewbitsError

#: width of tables where there is no terminal to ask; long cells stay on one line.
PIPE_WIDTH = 250


def _console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, width=width)


def text(message: str = "", style: str = "") -> None:
    """Print a line on stdout."""
    _console().print(escape(message), style=style or None, soft_wrap=True)


def heading(name: str, origin: str = "") -> None:
    """Print a heading on stdout, and where the thing comes from."""
    _console().print(f"[bold]{escape(name)}[/]  [dim]{escape(origin)}[/]", soft_wrap=True)


def pairs(values: Mapping[str, str]) -> None:
    """Print names and values in two columns on stdout; empty values are left out."""
    width = max(map(len, values), default=0)
    console = _console()
    for name, value in values.items():
        if value:
            console.print(f"[dim]{escape(name):<{width}}[/]  {escape(value)}", soft_wrap=True)


def note(message: str) -> None:
    """Print a line on stderr."""
    _console(stderr=True).print(escape(message), soft_wrap=True)


def failure(error: FewbitsError) -> None:
    """Print a deliberate error and its hint on stderr."""
    console = _console(stderr=True)
    console.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
    if error.hint:
        console.print(f"[cyan]hint:[/] {escape(error.hint)}", soft_wrap=True)


def kept(checkpoint: Path | None) -> None:
    """Say on stderr that the finished steps of a run that stopped are not lost, if it had any."""
    if checkpoint is not None and checkpoint.exists():
        note(f"The finished steps are in {checkpoint}; the same command with --resume goes on.")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str = "",
    right: Iterable[str] = (),
) -> None:
    """Print a table on stdout.

    Args:
        columns: the headings.
        rows: one cell per column; `cell` formats each.
        title: printed above.
        right: headings of the columns that are flush right.
    """
    grid = Table(
        box=box.SIMPLE_HEAD,
        title=title or None,
        title_justify="left",
        show_edge=False,
        pad_edge=False,
    )
    for name in columns:
        grid.add_column(name, justify="right" if name in set(right) else "left")
    for row in rows:
        grid.add_row(*(escape(cell(value)) for value in row))
    console = _console()
    if console.is_terminal:
        console.print(grid)
        return
    with console.capture() as capture:
        console.print(grid)
    sys.stdout.writelines(line.rstrip() + "\n" for line in capture.get().splitlines())


def cell(value: Any) -> str:
    """Return a value as a table shows it: floats with four digits, nothing for None.

    >>> cell(0.87654321), cell(None), cell(1234567), cell(True)
    ('0.8765', '', '1,234,567', 'yes')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout; what is not finite becomes null."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def plain(value: Any) -> Any:
    """Return `value` made of what JSON knows.

    >>> plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def spinner(what: str) -> AbstractContextManager[Any]:
    """Return a context that turns a spinner on stderr, gone at the end."""
    return _console(stderr=True).status(escape(what))


class LiveBars:
    """A bar on stderr for each piece of work in progress, gone when closed."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[counted]}"),
            TextColumn("{task.fields[rate]}", style="dim"),
            TimeRemainingColumn(compact=True),
            console=_console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._progress.start()

    def begin(self, what: str) -> None:
        """Show that a piece of work goes on, whether or not anything in it is counted."""
        self._progress.add_task(escape(what), total=None, counted="", rate="")

    def update(self, label: str, done: int, total: int | None, unit: str) -> None:
        """Take in one event."""
        counted = f"{done}{'' if total is None else f'/{total}'} {unit}"
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(
                escape(label), total=total, counted=counted, rate=""
            )
        task = self._tasks[label]
        self._progress.update(task, completed=done, total=total, counted=counted)
        speed = self._progress.tasks[self._progress.task_ids.index(task)].speed
        if speed:
            self._progress.update(task, rate=f"{speed:.3g} {unit}/s")
        if total is not None and done >= total:
            self._progress.remove_task(self._tasks.pop(label))

    def close(self) -> None:
        """Stop drawing and leave the terminal as it was."""
        self._progress.stop()
