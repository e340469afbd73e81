"""`fewbits eval`: how good a model is on data, and what quantization cost it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewbits.cli.common import BatchSize, command, session_of
from fewbits.cli.flags import Answer, Given, ParseFlags, Run
from fewbits.cli.grouped import grouped
from fewbits.cli.measured import show
from fewbits.cli.source import (
    check_output,
    ensure_quantized,
    open_model,
    refuse_steps,
    update_archive,
)
from fewbits.cli.stepflags import StepFlags
from fewbits.cli.subject import Subject, find
from fewbits.errors import UsageError, nearest

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.interfaces import Evaluator
    from fewbits.model import Model

app = command()


#: what `fewbits.api.evaluate` can run; that module is too heavy to import for a help text.
RUNS_ON = ("native", "full_precision", "emulator", "hardware")
FLOAT = ("native", "full_precision")

DataPath = Annotated[
    str | None,
    typer.Option(
        "--data-path",
        metavar="PATH",
        help="Samples to measure on: a folder of pictures, an npy or npz file, FILE.npz#key. "
        "Default: those of the named model.",
    ),
]
RunsOn = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="|".join(RUNS_ON),
        help="native: the network as parsed; full_precision: after the full-precision steps; "
        "emulator: quantized, with the device's numerics; hardware: compiled, on the device "
        "itself. Default: emulator for what is quantized "
        "or is to be, by --calib-path, steps or levels; full_precision for the rest.",
    ),
]
DataCount = Annotated[
    int | None, typer.Option("--data-count", metavar="N", min=1, help="Take the first N only.")
]
DataReader = Annotated[
    str | None,
    typer.Option(
        "--data-reader",
        metavar="NAME[:OPTIONS]",
        help="What reads --data-path; default: the reader that claims it (`fewbits list "
        "datasets`).",
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave samples out that cannot be read or are labelled wrongly, and count them, "
        "instead of stopping; all are read once more beforehand.",
    ),
]
Evaluators = Annotated[
    list[str] | None,
    typer.Option(
        "--evaluator",
        metavar="NAME[:OPTIONS]",
        help="What to measure; may be repeated. Default: what the named model says, or "
        "classification if there are labels, and fidelity where steps have run.",
    ),
]
Hef = Annotated[
    Path | None,
    typer.Option(
        "--hef",
        metavar="FILE",
        help="The compiled file that the hardware runs; default: where `compile` writes it.",
    ),
]
Copy = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Write the archive that was measured here; default: the one read, if it was one.",
    ),
]


@app.command("eval")
@grouped
def evaluate(
    ctx: typer.Context,
    given: Given,
    *,
    data_path: DataPath = None,
    target: RunsOn = None,
    data_count: DataCount = None,
    data_reader: DataReader = None,
    skip_bad: SkipBad = False,
    evaluator: Evaluators = None,
    run: Run,
    steps: StepFlags,
    output: Copy = None,
    hef: Hef = None,
    batch_size: BatchSize = 32,
    flags: ParseFlags,
    answer: Answer,
) -> None:
    """Measure a model on data: float, emulated, or on the device.

    For the emulator a model that is not quantized yet is quantized first; that takes
    --calib-path. An archive gets the new stages; a network's own file has none, give -o.
    """
    session = session_of(ctx)
    if target is not None and target not in RUNS_ON:
        raise UsageError(f"Models do not run on '{target}'.", hint=nearest(target, RUNS_ON))
    target = hardware_of(target, hef)
    subject = find(session, given, flags.name)
    samples = subject.data(data_path)
    if output is not None:
        check_output(output, subject.file)
    model = opened = open_model(session, subject, flags)
    target = target or default_target(opened, run, steps)
    if target == "emulator":
        model = ensure_quantized(session, opened, subject, steps, subject.completed(run))
    else:
        refuse_steps(steps, f"--target {target} runs what is there")
    from fewbits import api

    if output is not None:
        api.save(model, output)
    elif model is not opened:
        update_archive(session, subject, model)
    with session.progress():
        measured = api.evaluate(
            model,
            samples,
            target=target,
            evaluators=make_evaluators(session, evaluator or measures(subject, target)),
            count=data_count,
            reader=data_reader,
            skip_bad=skip_bad,
            threads=run.threads,
            batch_size=batch_size,
            executable=executable(session, subject, model, hef) if target == "hardware" else None,
            registry=session.registry,
        )
    show(model, target, measured, answer)


def hardware_of(target: str | None, hef: Path | None) -> str | None:
    """Return what is to run, which is the hardware where its file is named.

    Raises:
        UsageError: a file for the hardware was named, and something else is to run.
    """
    if hef is not None and target not in (None, "hardware"):
        raise UsageError(
            f"--hef names a file for the hardware, and {target} is to run.",
            hint="Leave --hef out, or give --target hardware.",
        )
    return target if hef is None else "hardware"


def executable(session: "Session", subject: Subject, model: "Model", hef: Path | None) -> Path:
    """Return the compiled file: the one that was named, or what `compile` wrote last.

    Raises:
        TargetError: the latter is older than the model.
    """
    from fewbits.cli.compile import default_path
    from fewbits.executables import made_for, need_same

    if hef is not None:
        return hef
    path = default_path(session, subject, made_for(model))
    if path.is_file():
        need_same(model, path)
    return path


def default_target(model: "Model", run: Run, steps: StepFlags) -> str:
    """Return what runs where nobody says: the emulator of what is quantized or is to be."""
    from fewbits.model import Stage

    asked = run.calib_path is not None or bool(steps.given)
    return "emulator" if asked or model.stage.rank >= Stage.QUANTIZED.rank else "full_precision"


def measures(subject: Subject, target: str) -> list[str]:
    """Return what measures a named model, and its closeness to full precision once quantized."""
    own = [] if subject.named is None else list(subject.named.evaluators())
    return ["fidelity", *own] if own and target not in FLOAT else own


def make_evaluators(session: "Session", texts: Sequence[str] | None) -> "list[Evaluator] | None":
    """Return the evaluators that were asked for with their options; None for the default.

    Raises:
        FewbitsError: one is unknown, or its options do not fit.
    """
    from fewbits.recipe import parse_step

    if not texts:
        return None
    asked = [parse_step(text) for text in texts]
    return [session.registry.create("evaluator", each.use, each.options) for each in asked]
