"""Which recipe a command runs, and on what; and saying so."""

from typing import TYPE_CHECKING

from fewbits.cli.flags import Run
from fewbits.cli.stepflags import StepFlags, wish_of
from fewbits.cli.subject import Subject
from fewbits.errors import UsageError

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.model import Model
    from fewbits.preparing import Prepared


def prepare(
    session: "Session", model: "Model", subject: Subject, steps: StepFlags, run: Run
) -> "Prepared":
    """Check what was asked for, open the calibration data, and find what the levels come to.

    What was lowered or left out is said as a warning.

    Raises:
        FewbitsError: the recipe cannot run, a level's need is not met, the data cannot be opened.
    """
    from fewbits.preparing import prepare as prepare_run

    if run.calib_path is None and run.calib_count is not None:
        raise UsageError(
            "--calib-count says how many samples to take, and no --calib-path says whence.",
            hint="Add --calib-path, or leave --calib-count out.",
        )
    suited = None if subject.named is None else subject.named.recipe()
    registry = session.registry
    prepared = prepare_run(
        model,
        wish_of(steps, registry, suited),
        registry=registry,
        target=registry.create("target", run.target_for(model), {}),
        calibration=run.calib_path,
        count=run.calib_count,
    )
    for line in prepared.warnings():
        session.warn(line)
    return prepared


def announce(prepared: "Prepared", *, stderr: bool = False) -> None:
    """Say which levels run, and why no better ones where nobody named them."""
    from fewbits.cli import render

    for line in prepared.choice.lines() if prepared.choice is not None else ():
        if stderr:
            render.note(line)
        else:
            render.text(line)
