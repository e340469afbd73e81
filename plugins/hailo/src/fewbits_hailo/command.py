"""`fewbits hailo`: what concerns Hailo's own files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fewbits.cli.common import command, session_of
from fewbits.cli.flags import Answer, Given, HwArch, ParseFlags
from fewbits.cli.grouped import grouped

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.interfaces import Target
    from fewbits.model import Model

    from fewbits_hailo.script.interpreting import Line

WIDEST = 72

app = command("Model scripts and other files of Hailo's tools.")


@app.callback()
def _hailo() -> None:
    """Model scripts and other files of Hailo's tools."""


@app.command("check-script")
@grouped
def check_script(
    ctx: typer.Context,
    script: Annotated[Path, typer.Argument(metavar="FILE.alls", help="The model script.")],
    flags: ParseFlags,
    answer: Answer,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="FILE|NAME",
            help="The network that it is for; without it, layers are not looked up.",
        ),
    ] = None,
    hw_arch: HwArch = "hailo8",
    lenient: Annotated[
        bool,
        typer.Option(
            "--lenient", help="Lines that cannot be done are no error; say what becomes of them."
        ),
    ] = False,
) -> None:
    """Say what each line of a model script does here.

    Exit code 1 if a line cannot be done.
    """
    session = session_of(ctx)
    from fewbits_hailo.script.interpreting import interpret
    from fewbits_hailo.script.parsing import load, parse
    from fewbits_hailo.script.selecting import Layers

    target: Target = session.registry.create("target", hw_arch, {})
    statements = parse(load(script), source=str(script))
    lines = interpret(statements, Layers(_network(session, model, flags), target))
    wrong = sum(bool(line.faults) for line in lines)
    if answer.json:
        _print_json(script, lines, lenient=lenient)
    elif not answer.quiet:
        _show(lines, lenient=lenient)
    if wrong and not lenient:
        raise typer.Exit(1)


def _network(session: "Session", path: Path | None, flags: ParseFlags) -> "Model | None":
    if path is None:
        return None
    from fewbits.cli.source import open_model
    from fewbits.cli.subject import find
    from fewbits.model import Stage

    subject = find(session, Given(path), flags.name)
    return open_model(session, subject, flags).at(Stage.PARSED)


def _show(lines: Sequence["Line"], *, lenient: bool) -> None:
    from fewbits.cli import render

    render.table(
        ("line", "command", "here", "what it does"),
        [row for line in lines for row in _rows(line, lenient=lenient)],
        right=("line",),
    )
    counts = Counter(str(line.use) for line in lines)
    render.text(", ".join(f"{n} × {use}" for use, n in counts.items()) or "The script says nothing")


def _rows(line: "Line", *, lenient: bool) -> list[tuple[str, ...]]:
    """Return a row for what a line does, and one for each remedy."""
    from fewbits_hailo.script.syntax import write_statement

    said = write_statement(line.said.statement)
    shown = said if len(said) <= WIDEST else f"{said[: WIDEST - 1]}…"
    told = line.text.removeprefix(f"{line.use}: ")
    if line.faults:
        told = "; ".join(f"column {fault.column}: {fault.text}" for fault in line.faults)
    rows: list[tuple[str, ...]] = [(str(line.number), shown, str(line.use), told)]
    hints = dict.fromkeys(fault.hint for fault in line.faults if fault.hint)
    rows += [("", "", "", hint) for hint in hints]
    if line.faults and lenient:
        rows.append(("", "", "", f"--lenient: {_fate(line)}"))
    return rows


def _fate(line: "Line") -> str:
    from fewbits_hailo.script.interpreting import remaining

    done = "; ".join(effect.text for effect in line.effects)
    kept = remaining(line)
    return "; ".join(filter(None, [done, f"kept for the compiler: {kept}" if kept else ""])) or (
        "left out"
    )


def _print_json(script: Path, lines: Sequence["Line"], *, lenient: bool) -> None:
    from fewbits.cli import render

    render.print_json(
        {
            "script": str(script),
            "done": not any(line.faults for line in lines),
            "lines": [_as_json(line, lenient=lenient) for line in lines],
        }
    )


def _as_json(line: "Line", *, lenient: bool) -> dict[str, Any]:
    from fewbits_hailo.script.interpreting import remaining
    from fewbits_hailo.script.syntax import write_statement

    return {
        "line": line.number,
        "column": line.said.statement.column,
        "statement": write_statement(line.said.statement),
        "command": line.said.statement.command,
        "here": str(line.use),
        "steps": [effect.text for effect in line.effects],
        "for_compiler": remaining(line) if line.faults and lenient else line.kept,
        "text": line.text,
        "faults": [asdict(fault) for fault in line.faults],
    }
