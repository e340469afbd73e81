"""Runs a recipe: order, events, checkpoints."""

from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

from fewbits import archive
from fewbits.data import Dataset
from fewbits.execution import Setting, perform
from fewbits.interfaces import Target
from fewbits.model import Model
from fewbits.planning import plan
from fewbits.processes import leads
from fewbits.recipe import Recipe
from fewbits.resuming import resumed

if TYPE_CHECKING:
    from fewbits.plugins import Registry


def check(model: Model, recipe: Recipe, registry: "Registry", *, calibrated: bool = True) -> None:
    """Raise before anything runs if the recipe cannot run on the model; see `planning.plan`."""
    plan(model, recipe, registry, calibrated=calibrated)


def run(
    model: Model,
    recipe: Recipe,
    *,
    registry: "Registry",
    target: Target | str,
    calibration: Dataset | None = None,
    seed: int = 0,
    threads: int | None = None,
    batch_size: int = 4,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> Model:
    """Run the recipe and return the model with its new stages and history.

    Args:
        model: where to start; it is not changed.
        recipe: what to do.
        registry: where the components are; gets the events.
        target: the hardware target or its name.
        calibration: unlabelled samples.
        seed: where all chance comes from; 0 or positive.
        threads: how many threads to use; None lets the runtime choose.
        batch_size: samples per run of the network.
        checkpoint: archive to write after each step; the caller removes it (`discard`).
        resume: go on from `checkpoint` if it exists and belongs to this very run.

    Raises:
        FewbitsError: before anything ran, if the recipe cannot run; later, whatever a step raises.
    """
    planned = plan(model, recipe, registry, calibrated=calibration is not None)
    device = target if isinstance(target, Target) else registry.create("target", target, {})
    setting = Setting(
        registry,
        device,
        calibration,
        seed,
        threads,
        batch_size,
        recipe.level,
        max(each.algorithm.holds_out for each in planned),
    )
    held = resumed(model, planned, setting, checkpoint) if resume else model
    if checkpoint is not None and not resume:
        discard(checkpoint)
    done = len(held.history) - len(model.history)
    for index, each in enumerate(planned[done:], done):
        registry.before_step(step=each.step, index=index, total=len(planned), model=held)
        work = None if checkpoint is None else _folder(checkpoint) / f"{index}-{each.step.use}"
        held = perform(held, each, setting, work=work)
        if checkpoint is not None:
            archive.write(held, checkpoint)
            if leads():
                rmtree(_folder(checkpoint), ignore_errors=True)
        registry.after_step(
            step=each.step, index=index, total=len(planned), model=held, record=held.history[-1]
        )
    return held


def discard(checkpoint: Path) -> None:
    """Remove a checkpoint once the final archive is written, and what an unfinished step kept."""
    if not leads():
        return
    checkpoint.unlink(missing_ok=True)
    rmtree(_folder(checkpoint), ignore_errors=True)


def _folder(checkpoint: Path) -> Path:
    """Return where steps keep what they need to go on, beside the checkpoint."""
    return checkpoint.with_name(f"{checkpoint.name}.work")
