"""Goes on from a checkpoint, if it is this run's own."""

from pathlib import Path
from typing import Any

from fewbits import archive
from fewbits.errors import RecipeError
from fewbits.execution import Setting
from fewbits.history import to_dict
from fewbits.model import Model
from fewbits.planning import Planned
from fewbits.provenance import StepRecord


def resumed(
    model: Model, planned: tuple[Planned, ...], setting: Setting, checkpoint: Path | None
) -> Model:
    """Return the checkpoint's model; the run's own start if there is no checkpoint.

    Args:
        model: where the run starts.
        planned: its steps.
        setting: what they share.
        checkpoint: the archive written after the last whole step.

    Raises:
        RecipeError: it is the checkpoint of another run; the message says what differs.
        ArchiveError: it cannot be read.
    """
    if checkpoint is None or not checkpoint.exists():
        return model
    held = archive.read(checkpoint)
    difference = _difference(model, planned, setting, held)
    if difference:
        raise RecipeError(
            f"{checkpoint} is the checkpoint of another run: {difference}.",
            hint="Run with what it was started with, or without --resume to begin anew.",
        )
    return held


def _difference(model: Model, planned: tuple[Planned, ...], setting: Setting, held: Model) -> str:
    """Say what keeps `held` from being this run after some of its steps; empty if nothing."""
    start = len(model.history)
    done = held.history[start:]
    if [to_dict(r) for r in held.history[:start]] != [to_dict(r) for r in model.history]:
        return "it started from another model"
    if len(done) > len(planned):
        return f"it has {len(done)} steps, and the recipe has {len(planned)}"
    if done and done[0].input_digest != archive.digest(model):
        return "it started from another model"
    for number, (record, each) in enumerate(zip(done, planned, strict=False), 1):
        for what, was, now in _compared(record, each, setting):
            if was != now:
                return f"step {number} had {what} {was!r}, and now it is {now!r}"
    return ""


def _compared(
    record: StepRecord, planned: Planned, setting: Setting
) -> tuple[tuple[str, Any, Any], ...]:
    return (
        ("name", record.use, planned.step.use),
        ("options", record.options, planned.options),
        ("version", record.version, planned.version),
        ("seed", record.seed, setting.seed),
        ("target", record.target, setting.target.name),
        ("calibration digest", record.data.get("digest"), setting.data.get("digest")),
        ("calibration count", record.data.get("count"), setting.data.get("count")),
        ("batch size", record.data.get("batch_size"), setting.data.get("batch_size")),
        ("samples held out", record.data.get("held_out"), setting.data.get("held_out")),
    )
