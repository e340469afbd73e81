"""Runs one step: gives it what it needs, holds it to its word, writes down what happened."""

import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewbits import archive, masks
from fewbits.data import Dataset, input_specs_of, parted
from fewbits.errors import PluginError, UsageError
from fewbits.history import from_dict, to_dict
from fewbits.interfaces import Context, Result, Target
from fewbits.model import Model
from fewbits.outline import stage_digest
from fewbits.planning import Planned
from fewbits.provenance import Report, StepRecord
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
        level: what the recipe says of the levels it stands for.
        holds_out: how many samples to keep from all steps, to judge by; a quarter at most.
        data: how the samples were opened, and the batch size; empty without samples.
    """

    registry: "Registry"
    target: Target
    calibration: Dataset | None = None
    seed: int = 0
    threads: int | None = None
    batch_size: int = 4
    level: Mapping[str, Any] = field(default_factory=dict)
    holds_out: int = 0
    data: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"The seed is {self.seed}.", hint="Give 0 or a positive number.")
        said = {} if self.calibration is None else self.calibration.describe()
        data = {**said, "batch_size": self.batch_size} if said else {}
        if said and self.holds_out:
            data["held_out"] = self.holds_out
        object.__setattr__(self, "data", data)

    def fitting(self, model: Model) -> "Setting":
        """Return the setting with the samples as a model takes them whose inputs were edited.

        Raises:
            DataError: the samples do not fit the model.
        """
        edited = any(record.edits == "inputs" for record in model.history)
        if self.calibration is None or not edited:
            return self
        fitted = self.calibration.fitted(input_specs_of(model), model.preprocess)
        return self if fitted is self.calibration else replace(self, calibration=fitted)


def generator(model: Model, use: str, seed: int) -> np.random.Generator:
    """Return a step's own generator.

    It depends on the seed, the step's name and how often such a step came before it, so that
    another kind of step put before it does not change its chance.
    """
    before = sum(record.use == use for record in model.history)
    return np.random.default_rng([seed, zlib.crc32(f"{use}#{before}".encode())])


def perform(model: Model, planned: Planned, setting: Setting, *, work: Path | None = None) -> Model:
    """Run one step, check what it returned, and write down what happened.

    Args:
        model: what the step gets.
        planned: the step.
        setting: what the steps of the run share.
        work: the folder in which it keeps what it needs to go on after an interruption.

    Raises:
        PluginError: the step changed its input or does not tell the truth about it.
        FewbitsError: whatever the step raises on purpose.
    """
    edits = planned.algorithm.edits
    setting = setting if edits else setting.fitting(model)
    before = archive.content(model)
    start = time.perf_counter()
    result = _apply(model, planned, _context(model, planned, setting, work))
    seconds = time.perf_counter() - start
    _check_result(model, planned, result)
    _check_masks(model, planned, result.model)
    out = _advanced(model, planned, result.model)
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
        level=setting.level,
        edits=edits,
    )
    return out.replace(history=(*model.history, _plain(record)))


def _context(model: Model, planned: Planned, setting: Setting, work: Path | None) -> Context:
    calibration, held_out = setting.calibration, None
    if planned.algorithm.edits:  # The samples may be for what the network takes afterwards.
        calibration = None
    if calibration is not None:
        calibration, held_out = parted(calibration, setting.holds_out)
    return Context(
        target=setting.target,
        calibration=calibration,
        seed=setting.seed,
        rng=generator(model, planned.step.use, setting.seed),
        progress=setting.registry.progress,
        threads=setting.threads,
        batch_size=setting.batch_size,
        work=work,
        held_out=held_out,
    )


def _advanced(model: Model, planned: Planned, new: Model) -> Model:
    """Return `model` with the content of `new`, at the stage that the step leads to."""
    freeze(new.network)
    out = model.advance(
        planned.algorithm.stage,
        network=new.network,
        encodings=new.encodings,
        precisions=new.precisions,
        masks=new.masks,
        preprocess=new.preprocess,
    )
    return in_order(out)


def _apply(model: Model, planned: Planned, context: Context) -> Result:
    try:
        return planned.algorithm.apply(model, context)
    except Exception as error:
        error.add_note(f"In step '{planned.step}' of {_origin(planned)}.")
        raise


def _check_result(model: Model, planned: Planned, result: object) -> None:
    if not isinstance(result, Result):
        raise _fault(planned, f"returned {type(result).__name__}, not a Result")
    if not isinstance(result.model, Model) or not isinstance(result.report, Report):
        raise _fault(planned, "returned a Result without a Model or without a Report")
    new = result.model
    if new.stage not in (model.stage, planned.algorithm.stage):
        raise _fault(planned, f"returned a model that is {new.stage}")
    if (new.input_names, new.output_names) != (model.input_names, model.output_names):
        raise _fault(planned, "changed the network's inputs or outputs")


def _check_masks(model: Model, planned: Planned, new: Model) -> None:
    lost, broken = masks.lost(model, new), masks.violations(new)
    if lost:
        raise _fault(planned, f"lost the mask of '{lost[0]}'")
    if broken:
        raise _fault(planned, f"brought pruned weights of '{broken[0]}' back")


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
