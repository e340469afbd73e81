"""What a search tries: which levels can run here, and one attempt at each."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewbits import archive
from fewbits.choosing import choose
from fewbits.cost import cost
from fewbits.data import Dataset
from fewbits.edits import float_counterpart
from fewbits.errors import FewbitsError, RecipeError
from fewbits.evaluation import Evaluation, evaluate
from fewbits.execution import Setting
from fewbits.interfaces import Evaluator
from fewbits.journal import Journal
from fewbits.levels import COMPRESSION, Level, level
from fewbits.model import Model, Precision
from fewbits.needs import unmet, unmet_by_quantizer
from fewbits.runtime import Session
from fewbits.series import Remembering, Series
from fewbits.tuning import Goal, Trial

#: levels that are tried unless others are named; the dearer ones take hours on larger networks.
OPTIMIZATIONS = (0, 1, 2)
EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Grid:
    """The levels to try.

    Args:
        optimizations: optimization levels, from cheap to dear.
        compressions: compression levels, rising.
        left_out: what is not tried, with the reason.
    """

    optimizations: tuple[int, ...]
    compressions: tuple[int, ...]
    left_out: tuple[str, ...]


def grid(
    model: Model,
    setting: Setting,
    optimizations: Sequence[int] | None = None,
    compressions: Sequence[int] | None = None,
) -> Grid:
    """Hold the levels against what is there.

    Args:
        model: where every attempt starts.
        setting: what they share.
        optimizations: those to try; None for 0, 1, 2 as far as they can run.
        compressions: those to try; None for 0 to 5 as far as they can run.

    Raises:
        UsageError: there is no such level.
        RecipeError: a level that was named cannot run, or none can.
    """
    left_out: list[str] = []

    def usable(found: Level, name: str, named: bool, *, whole: bool) -> bool:
        faults = _faults(found, setting, whole=whole)
        if faults and named:
            raise _refusal(model, found, setting, faults)
        if faults:
            left_out.append(f"{name} is not tried: {'; '.join(faults)}.")
        return not faults

    kept = tuple(
        number
        for number in sorted(set(COMPRESSION if compressions is None else compressions))
        if usable(
            level(0, number), f"Compression level {number}", compressions is not None, whole=False
        )
    )
    most = max(kept, default=0)
    able = tuple(
        number
        for number in sorted(set(OPTIMIZATIONS if optimizations is None else optimizations))
        if usable(
            level(number, most),
            f"Optimization level {number}",
            optimizations is not None,
            whole=True,
        )
    )
    if not able or not kept:
        raise RecipeError(
            f"No level can be tried. {' '.join(left_out)}", hint="See `fewbits list`."
        )
    return Grid(able, kept, tuple(left_out))


def _faults(found: Level, setting: Setting, *, whole: bool) -> list[str]:
    """Return what keeps a level from running; unless `whole`, its compression level alone."""
    images = 0 if setting.calibration is None else len(setting.calibration)
    if whole:
        faults = [each.what for each in unmet(found, setting.registry, images)]
    else:
        faults = [each.what for each in unmet_by_quantizer(found, setting.registry)]
    if found.compression and Precision(8, 4) not in setting.target.spec.precisions:
        faults.append(f"target {setting.target.name} has no precision mode a8_w4")
    return faults


def _refusal(model: Model, found: Level, setting: Setting, faults: list[str]) -> RecipeError:
    """Return the error for a level that was named: what `choose` says of it, if it does."""
    images = None if setting.calibration is None else len(setting.calibration)
    try:
        choose(
            model,
            registry=setting.registry,
            images=images,
            optimization=found.optimization,
            compression=found.compression,
        )
    except RecipeError as error:
        return error
    return RecipeError(f"{found.name.capitalize()} cannot run: {faults[0]}.", hint="Leave it out.")


class Bench:
    """Runs levels on one model and measures each on the same images.

    Args:
        model: where every attempt starts.
        setting: what they share.
        pictures: the images to measure on.
        goal: what a model must reach.
        evaluators: what is measured; the goal's is among them.
        journal: what was tried before; gets each new trial.
        checkpoint: archive for the smallest model within the goal so far; None writes none.
    """

    def __init__(
        self,
        model: Model,
        setting: Setting,
        pictures: Dataset,
        goal: Goal,
        evaluators: Sequence[Evaluator],
        journal: Journal,
        checkpoint: Path | None = None,
    ) -> None:
        self._setting = setting
        self._pictures = pictures
        self._goal = goal
        self._evaluators = evaluators
        self._journal = journal
        self._checkpoint = checkpoint
        self._model = model
        work = None if checkpoint is None else work_of(checkpoint)
        self._series = Series(model, setting.registry, setting, work)
        network = float_counterpart(model, setting.registry).network
        self._float = Remembering(Session(network, threads=setting.threads))
        self._best: tuple[str, Model] | None = None

    def attempt(self, optimization: int, compression: int) -> Trial:
        """Return what came of these levels, from the journal if it knows."""
        known = self._journal.find(optimization, compression)
        if known is not None:  # The goal may have been moved since.
            return replace(known, excess=self._goal.excess(known.value, known.drop))
        found = level(optimization, compression)
        start = time.perf_counter()
        try:
            model = self._series.run(found.recipe)
            measured = self._measure(model)
        except FewbitsError as error:
            trial = _failed(found, error, time.perf_counter() - start)
        else:
            trial = _trial(found, model, measured, self._goal, time.perf_counter() - start)
            self._keep(trial, model)
        self._journal.add(trial)
        return trial

    def _measure(self, model: Model) -> Evaluation:
        setting = self._setting
        return evaluate(
            model,
            self._pictures,
            self._evaluators,
            runnable=setting.target.emulator(model, setting.threads),
            reference=self._float,
            batch_size=EVALUATION_BATCH,
            progress=setting.registry.progress,
            threads=setting.threads,
        )

    def _keep(self, trial: Trial, model: Model) -> None:
        """Hold the model if it is within the goal; a later one within it is smaller."""
        if trial.within:
            self._best = (trial.digest, model)
            if self._checkpoint is not None:
                archive.write(model, self._checkpoint)

    def winner(self, best: Trial) -> Model:
        """Return the model of the best trial; its history says that it was chosen, and on what."""
        model = self._held(best)
        found = level(best.optimization, best.compression)
        data = self._pictures.describe()
        chosen = {"goal": self._goal.name, "images": len(self._pictures), "digest": data["digest"]}
        record = found.record(tuned=chosen)
        start = len(self._model.history)
        done = tuple(replace(each, level=record) for each in model.history[start:])
        history = (*self._model.history, *done)
        past = tuple(m.replace(history=history[: len(m.history)]) for m in model.ancestors)
        return model.replace(history=history, ancestors=past)

    def _held(self, best: Trial) -> Model:
        if self._best is not None and self._best[0] == best.digest:
            return self._best[1]
        if self._checkpoint is not None and self._checkpoint.exists():
            held = archive.read(self._checkpoint)
            if archive.digest(held) == best.digest:
                return held
        return self._series.run(level(best.optimization, best.compression).recipe)


def _trial(found: Level, model: Model, measured: Evaluation, goal: Goal, seconds: float) -> Trial:
    value = goal.value(measured.metrics)
    drop = None
    if goal.max_drop is not None:
        drop = goal.value(measured.reference_metrics) - value
    return Trial(
        optimization=found.optimization,
        compression=found.compression,
        steps=tuple(map(str, found.steps)),
        value=value,
        drop=drop,
        excess=goal.excess(value, drop),
        weight_bytes=cost(model).bytes_quantized,
        seconds=seconds,
        metrics=measured.metrics,
        digest=archive.digest(model),
    )


def _failed(found: Level, error: FewbitsError, seconds: float) -> Trial:
    steps = tuple(map(str, found.steps))
    fault = f"{error.message} {error.hint}".strip()
    return Trial(
        found.optimization,
        found.compression,
        steps,
        math.nan,
        None,
        math.inf,
        0,
        seconds,
        fault=fault,
    )


def work_of(checkpoint: Path) -> Path:
    """Return the folder for what long steps keep, beside the archive of the best so far."""
    return checkpoint.with_name(f"{checkpoint.name}.work")


def fingerprint(model: Model, setting: Setting, pictures: Dataset, goal: Goal) -> dict[str, Any]:
    """Return what the trials of a search depend on, JSON-able, by names that a message can hold."""
    measured = pictures.describe()
    return {
        "network": archive.digest(model),
        "calibration data": setting.data.get("digest"),
        "evaluation data": measured.get("digest"),
        "metric": f"{goal.evaluator} {goal.metric}",
        "kind of goal": "drop" if goal.max_drop is not None else "floor",
        "target": setting.target.name,
        "seed": setting.seed,
        "batch size": setting.batch_size,
        "plugins": {r.name: r.version for r in setting.registry.records if r.status == "active"},
    }
