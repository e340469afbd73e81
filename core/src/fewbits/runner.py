"""Runs a recipe: events, digests, provenance, checkpoints."""

import time
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewbits import archive
from fewbits.data import Dataset
from fewbits.errors import PluginError, RecipeError, UsageError
from fewbits.history import from_dict, to_dict
from fewbits.interfaces import Context, Result, Target
from fewbits.model import Model
from fewbits.outline import stage_digest
from fewbits.planning import Planned, plan
from fewbits.provenance import StepRecord
from fewbits.recipe import Recipe
from fewbits.serialize import freeze, in_order

if TYPE_CHECKING:
    from fewbits.plugins import Registry


@dataclass(frozen=True)
class Setting:
    """What the steps of one run share.

    Args:
        registry: gets the events.
        target: the hardware target.
        calibration: unlabelled samples, or None.
        seed: where all chance comes from.
        threads: how many threads to use; None lets the runtime choose.
        batch_size: samples per run of the network.
        data: how the samples were opened, and the batch size; empty without samples.
    """

    registry: "Registry"
    target: Target
    calibration: Dataset | None = None
    seed: int = 0
    threads: int | None = None
    batch_size: int = 8
    data: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"The seed is {self.seed}.", hint="Give 0 or a positive number.")
        said = {} if self.calibration is None else self.calibration.describe()
        data = {**said, "batch_size": self.batch_size} if said else {}
        object.__setattr__(self, "data", data)


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
    batch_size: int = 8,
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
    setting = Setting(registry, device, calibration, seed, threads, batch_size)
    held = _resumed(model, planned, setting, checkpoint) if resume else model
    done = len(held.history) - len(model.history)
    for index, each in enumerate(planned[done:], done):
        registry.before_step(step=each.step, index=index, total=len(planned), model=held)
        held = perform(held, each, setting)
        if checkpoint is not None:
            archive.write(held, checkpoint)
        registry.after_step(
            step=each.step, index=index, total=len(planned), model=held, record=held.history[-1]
        )
    return held


def discard(checkpoint: Path) -> None:
    """Remove a checkpoint once the final archive is written."""
    checkpoint.unlink(missing_ok=True)


def generator(model: Model, use: str, seed: int) -> np.random.Generator:
    """Return a step's own generator.

    It depends on the seed, the step's name and how often such a step came before it, so that
    another kind of step put before it does not change its chance.
    """
    before = sum(record.use == use for record in model.history)
    return np.random.default_rng([seed, zlib.crc32(f"{use}#{before}".encode())])


def perform(model: Model, planned: Planned, setting: Setting) -> Model:
    """Run one step, check what it returned, and write down what happened.

    Raises:
        PluginError: the step changed its input or does not tell the truth about it.
        FewbitsError: whatever the step raises on purpose.
    """
    context = Context(
        target=setting.target,
        calibration=setting.calibration,
        seed=setting.seed,
        rng=generator(model, planned.step.use, setting.seed),
        progress=setting.registry.progress,
        threads=setting.threads,
        batch_size=setting.batch_size,
    )
    before = archive.content(model)
    start = time.perf_counter()
    result = _apply(model, planned, context)
    seconds = time.perf_counter() - start
    _check_result(model, planned, result)
    new = result.model
    freeze(new.network)
    out = in_order(
        model.advance(
            planned.algorithm.stage,
            network=new.network,
            encodings=new.encodings,
            precisions=new.precisions,
            masks=new.masks,
            preprocess=new.preprocess,
        )
    )
    after = archive.content(out)
    _check_honesty(model, planned, result, before, after)
    record = StepRecord(
        use=planned.step.use,
        distribution=planned.distribution,
        version=planned.version,
        options=planned.options,
        seed=setting.seed,
        data=setting.data,
        target=setting.target.name,
        input_digest=stage_digest(model.stage.value, before),
        output_digest=stage_digest(out.stage.value, after),
        seconds=seconds,
        report=result.report,
    )
    return out.replace(history=(*model.history, _plain(record)))


def _apply(model: Model, planned: Planned, context: Context) -> Result:
    try:
        return planned.algorithm.apply(model, context)
    except Exception as error:
        error.add_note(f"In step '{planned.step}' of {_origin(planned)}.")
        raise


def _check_result(model: Model, planned: Planned, result: object) -> None:
    if not isinstance(result, Result):
        raise _fault(planned, f"returned {type(result).__name__}, not a Result")
    new = result.model
    if new.stage not in (model.stage, planned.algorithm.stage):
        raise _fault(planned, f"returned a model that is {new.stage}")
    if (new.input_names, new.output_names) != (model.input_names, model.output_names):
        raise _fault(planned, "changed the network's inputs or outputs")


def _check_honesty(model: Model, planned: Planned, result: Result, before: str, after: str) -> None:
    if archive.content(model) != before:
        raise _fault(planned, "changed the model that it was given")
    if result.report.changed != (before != after):
        said = "changed the model, and it did not" if result.report.changed else "changed nothing"
        raise _fault(planned, f"says that it {said}" + ("" if before == after else ", and it did"))


def _fault(planned: Planned, message: str) -> PluginError:
    return PluginError(
        f"Step '{planned.step.use}' of {_origin(planned)} {message}.",
        hint="This is a bug of that plugin: tell its author.",
    )


def _origin(planned: Planned) -> str:
    return f"{planned.distribution} {planned.version}".strip() or "a plugin of this process"


def _plain(record: StepRecord) -> StepRecord:
    """Return the record as an archive gives it back, duration kept."""
    try:
        return replace(from_dict(to_dict(record)), seconds=record.seconds)
    except (TypeError, ValueError) as error:
        raise PluginError(
            f"The report of step '{record.use}' cannot be written down: {error}.",
            hint="This is a bug of that plugin: its report must hold numbers, words and lists.",
        ) from error


def _resumed(
    model: Model, planned: tuple[Planned, ...], setting: Setting, checkpoint: Path | None
) -> Model:
    """Return the checkpoint's model if it belongs to this run, the run's own start without one."""
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
    )
