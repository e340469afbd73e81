"""`fewbits.tune`: optimize, evaluate, not good enough, repeat; done for the user."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewbits.api import DEFAULT_TARGET
from fewbits.attempts import Bench, fingerprint, grid
from fewbits.data import Dataset
from fewbits.errors import RecipeError, UsageError
from fewbits.execution import Setting
from fewbits.interfaces import Evaluator, Target
from fewbits.journal import Journal
from fewbits.levels import level
from fewbits.model import Model, Stage
from fewbits.opening import Data, open_data
from fewbits.plugins import Registry, from_environment
from fewbits.recipe import Recipe
from fewbits.tuning import Goal, Trial, nothing_fits, search


@dataclass(frozen=True)
class Tuned:
    """The smallest model within the goal, and how it was found.

    Args:
        model: the winner, quantized; its history says which levels it stands for.
        recipe: its steps.
        best: its trial.
        trials: everything that was tried, in order.
        goal: what it had to reach.
        left_out: levels that could not be tried, with the reason.
        complete: whether the search came to its end before its time did.
        images: how many images every trial was measured on.
    """

    model: Model
    recipe: Recipe
    best: Trial
    trials: tuple[Trial, ...]
    goal: Goal
    left_out: tuple[str, ...]
    complete: bool
    images: int


def tune(
    model: Model,
    calibration: Data,
    data: Data,
    *,
    max_drop: float | None = None,
    min_snr: float | None = None,
    evaluator: str | Evaluator | None = None,
    optimization_levels: Sequence[int] | None = None,
    compression_levels: Sequence[int] | None = None,
    time_limit: float | None = None,
    target: Target | str = DEFAULT_TARGET,
    seed: int = 0,
    count: int | None = None,
    data_count: int | None = None,
    threads: int | None = None,
    batch_size: int = 4,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    watch: Callable[[Trial], None] | None = None,
    registry: Registry | None = None,
) -> Tuned:
    """Find the smallest model that loses little enough, by levels from cheap to dear.

    The walk is that of `tuning.search`; steps that two trials in a row share run once, and the
    float model runs over `data` once. The winner was chosen on `data`: measure it on other images
    before its figure is trusted.

    Args:
        model: where to start, in full precision; it is not changed.
        calibration: unlabelled samples.
        data: the samples that every trial is measured on, others than those to calibrate.
        max_drop: the most that the evaluator's headline may lose against full precision.
        min_snr: the least mean SNR of the outputs in dB; needs no labels. Give one of the two.
        evaluator: whose headline; `classification` by default.
        optimization_levels: what to try; by default 0, 1, 2 as far as they can run.
        compression_levels: what to try; by default 0 to 5 as far as they can run.
        time_limit: seconds after which no trial begins; the best so far wins.
        target: the hardware target or its name.
        seed: where all chance comes from.
        count: how many calibration samples to take, from the start.
        data_count: how many samples to measure on, from the start.
        threads: how many threads to use; None lets the runtime choose.
        batch_size: samples per run of the network while steps run.
        checkpoint: archive for the best so far; the trials stand beside it (`journal_of`). Both
            are left there for the caller to remove.
        resume: go on from there.
        watch: called with each trial, those gone over again when resuming too.
        registry: the plugins.

    Raises:
        UsageError: not exactly one goal was given, or there is no such level.
        DataError: the data cannot be opened, or has no labels where the evaluator needs them.
        RecipeError: the model is quantized, a level that was named cannot run, or the checkpoint
            is another search's.
        NothingFitsError: no trial reached the goal; carries the trials and names the closest.
    """
    begun = time.monotonic()
    plugins = registry or from_environment()
    goal, evaluators = goal_of(max_drop, min_snr, evaluator, plugins)
    _check_start(model)
    device = target if isinstance(target, Target) else plugins.create("target", target, {})
    samples = open_data(calibration, model, plugins, count, labelled=False)
    labelled = any(each.needs_labels for each in evaluators)
    pictures = open_data(data, model, plugins, data_count, labelled=labelled)
    _check_labels(pictures, evaluators)
    setting = Setting(plugins, device, samples, seed, threads, batch_size)
    levels = grid(model, setting, optimization_levels, compression_levels)
    path = None if checkpoint is None else Path(checkpoint)
    journal = Journal(
        None if path is None else journal_of(path), fingerprint(model, setting, pictures, goal)
    )
    if resume:
        journal.resume()
    bench = Bench(model, setting, pictures, goal, evaluators, journal, path)

    def attempt(optimization: int, compression: int) -> Trial:
        trial = bench.attempt(optimization, compression)
        if watch is not None:
            watch(trial)
        return trial

    found = search(
        levels.optimizations,
        levels.compressions,
        attempt,
        time_left=lambda: time_limit is None or time.monotonic() - begun < time_limit,
    )
    if found.best is None:
        raise nothing_fits(goal, found.trials)
    return Tuned(
        model=bench.winner(found.best),
        recipe=level(found.best.optimization, found.best.compression).recipe,
        best=found.best,
        trials=found.trials,
        goal=goal,
        left_out=levels.left_out,
        complete=found.complete,
        images=len(pictures),
    )


def journal_of(checkpoint: Path) -> Path:
    """Return where the trials of a search stand whose best model is written to `checkpoint`."""
    return checkpoint.with_name(f"{checkpoint.name}.json")


def goal_of(
    max_drop: float | None,
    min_snr: float | None,
    evaluator: str | Evaluator | None,
    registry: Registry,
) -> tuple[Goal, list[Evaluator]]:
    """Return the goal, and what is measured: the outputs' SNR always, for the table.

    Raises:
        UsageError: not exactly one goal was given, or it does not fit the evaluator.
    """
    if (max_drop is None) == (min_snr is None):
        raise UsageError(
            "A search needs one goal: how much may be lost, or how close the outputs must be.",
            hint="Give --max-drop in points of the evaluator's metric, which takes labels, or"
            " --min-snr in dB, which takes none.",
        )
    fidelity: Evaluator = registry.create("evaluator", "fidelity", {})
    if min_snr is not None:
        if evaluator is not None:
            raise UsageError(
                "--min-snr is measured by fidelity, and another evaluator was named.",
                hint="Give --max-drop with an evaluator.",
            )
        unit = fidelity.units[fidelity.headline]
        return Goal(fidelity.name, fidelity.headline, unit, floor=min_snr), [fidelity]
    asked = "classification" if evaluator is None else evaluator
    judge: Evaluator = registry.create("evaluator", asked, {}) if isinstance(asked, str) else asked
    if judge.needs_reference:
        raise UsageError(
            f"Evaluator '{judge.name}' compares with full precision, where nothing drops.",
            hint="Give --min-snr in dB instead of --max-drop.",
        )
    unit = judge.units.get(judge.headline, "")
    return Goal(judge.name, judge.headline, unit, max_drop=max_drop), [fidelity, judge]


def _check_start(model: Model) -> None:
    if model.stage.rank >= Stage.QUANTIZED.rank:
        raise RecipeError(
            f"{model.name} is already {model.stage}, and a search begins in full precision.",
            hint="Add --restart to begin from the parsed network.",
        )


def _check_labels(data: Dataset, evaluators: Sequence[Evaluator]) -> None:
    for lack in filter(None, (each.lacks(data.labels) for each in evaluators)):
        raise UsageError(
            f"--max-drop is measured by an evaluator: {lack}.",
            hint="Give labelled data with --data-path, or --min-snr in dB, which takes none.",
        )
