"""What the commands share: options, the plugin registry, progress, results on stdout."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fewbits.cli.progress import ProgressPlugin
    from fewbits.plugins import PluginRecord, Registry

_PROGRESS = "fewbits.cli.progress"

HELP_SETTINGS = {"help_option_names": ["--help", "-h"], "max_content_width": 100}


class Session:
    """One run of the command line: which plugins it sees and how it talks to the user.

    `checkpoint` is set by a command while a run can be resumed from it, so that the message
    after Ctrl-C can name it.
    """

    def __init__(self) -> None:
        self.quiet = False
        self.checkpoint: Path | None = None
        self._disabled: set[str] = set()
        self._warned: set[str] = set()
        self._log = _WarningLines(self)
        self._reporter: ProgressPlugin | None = None

    def close(self) -> None:
        """Stop listening to what the library logs."""
        logging.getLogger("fewbits").removeHandler(self._log)

    def disable(self, names: Iterable[str] | None) -> None:
        """Leave these plugins out.

        Whoever types `fewbits demo --no-plugin NAME` has had the plugins looked through for the
        command `demo` by then; they are discovered again without NAME.
        """
        added = set(names or ()) - self._disabled
        if added:
            self._disabled |= added
            self.__dict__.pop("registry", None)

    @cached_property
    def registry(self) -> "Registry":
        """The installed plugins, without those in `--no-plugin` and FEWBITS_DISABLE.

        Each plugin that cannot be used is named on stderr.
        """
        from fewbits import plugins

        logging.getLogger("fewbits").addHandler(self._log)
        registry = plugins.from_environment(disabled=self._disabled)
        for record in registry.records:
            if is_bad(record):
                self.warn(f"{record} is {record.status}: {record.reason}")
        for name in registry.unknown_disabled:
            self.warn(f"no plugin '{name}' is installed that could be left out")
        return registry

    def warn(self, message: str) -> None:
        """Print one warning line on stderr, once a run."""
        if message not in self._warned:
            self._warned.add(message)
            first_line = message.splitlines()[0]
            typer.echo(f"warning: {first_line}", err=True)

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show the progress of long work on stderr while the block runs."""
        if self.quiet:
            yield
            return
        from fewbits.cli.progress import ProgressPlugin

        self._reporter = reporter = ProgressPlugin(sys.stderr)
        self.registry.register(reporter, _PROGRESS)
        try:
            yield
        finally:
            reporter.close()
            self._reporter = None
            self.registry.unregister(_PROGRESS)

    def note(self, message: str) -> None:
        """Print a line on stderr while long work goes on; bars that are shown give way to it."""
        if self._reporter is not None:
            self._reporter.close()
        typer.echo(message, err=True)

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show what is being done that cannot be counted: a spinner, or a line if it takes long."""
        if self.quiet:
            yield
            return
        from fewbits.cli import progress, render

        if not sys.stderr.isatty():
            with progress.line_if_long(what, sys.stderr):
                yield
            return
        with render.spinner(what):
            yield


class _WarningLines(logging.Handler):
    """Shows what the library logs, such as an event hook that failed, as warning lines."""

    def __init__(self, session: Session) -> None:
        super().__init__(logging.WARNING)
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record's message."""
        self._session.warn(record.getMessage())


def is_bad(record: "PluginRecord") -> bool:
    """Say whether a plugin should work and does not."""
    return record.status not in ("active", "disabled")


def session_of(ctx: Any) -> Session:
    """Return the run's session, made on first use."""
    root = ctx.find_root()
    if root.obj is None:
        root.obj = Session()
        root.call_on_close(root.obj.close)
    session: Session = root.obj
    return session


def _set_quiet(ctx: typer.Context, quiet: bool) -> bool:
    session_of(ctx).quiet = quiet
    return quiet


def _disable(ctx: typer.Context, names: list[str] | None) -> list[str]:
    session_of(ctx).disable(names)
    return names or []


NoPlugin = Annotated[
    list[str] | None,
    typer.Option(
        "--no-plugin",
        metavar="NAME",
        callback=_disable,
        is_eager=True,
        help="Leave this plugin out; may be repeated.",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", callback=_set_quiet, help="Print errors and warnings only."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of everything random.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, help="Threads to use; default: all cores."),
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", metavar="N", min=1, help="Samples per run.")
]


def command(help_text: str | None = None) -> typer.Typer:
    """Return an empty Typer app with the settings that all of the core's commands share."""
    return typer.Typer(
        rich_markup_mode=None, add_completion=False, context_settings=HELP_SETTINGS, help=help_text
    )
