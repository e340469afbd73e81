"""The search for the smallest model that loses little enough: a walk over levels.

Pure of models and data: what an attempt does is a function of the caller's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fewbits.errors import FewbitsError

Metrics = Mapping[str, Mapping[str, float]]


class NothingFitsError(FewbitsError):
    """No attempt stayed within the goal.

    Args:
        message: the best attempt and how far it is off.
        hint: the remedy.
        goal: what was to be reached.
        trials: everything that was tried.
    """

    def __init__(
        self, message: str, *, hint: str, goal: "Goal", trials: "tuple[Trial, ...]"
    ) -> None:
        super().__init__(message, hint=hint)
        self.goal = goal
        self.trials = trials


@dataclass(frozen=True)
class Goal:
    """What a model must reach: a metric that loses little against full precision, or a floor.

    Args:
        evaluator: the evaluator's name.
        metric: one of its metrics, of which more is better.
        unit: the metric's unit; may be empty.
        max_drop: the most that may be lost against full precision; None for a floor.
        floor: the least value; None for a drop.
    """

    evaluator: str
    metric: str
    unit: str = ""
    max_drop: float | None = None
    floor: float | None = None

    @property
    def name(self) -> str:
        """What is asked for, in words.

        >>> Goal("classification", "top1", "%", max_drop=0.5).name
        'at most 0.5 % of top1 lost'
        >>> Goal("fidelity", "snr_db", "dB", floor=20).name
        'snr_db at least 20 dB'
        """
        if self.max_drop is not None:
            return f"at most {_amount(self.max_drop, self.unit)} of {self.metric} lost"
        return f"{self.metric} at least {_amount(self.floor or 0.0, self.unit)}"

    def value(self, metrics: Metrics) -> float:
        """Return the goal's metric."""
        return float(metrics[self.evaluator][self.metric])

    def excess(self, value: float, drop: float | None) -> float:
        """Return by how much the goal is missed; zero or less if it is met, infinite for NaN."""
        if self.max_drop is not None:
            off = math.nan if drop is None else drop - self.max_drop
        else:
            off = (self.floor or 0.0) - value
        return math.inf if math.isnan(off) else off


def _amount(value: float, unit: str) -> str:
    return f"{value:g} {unit}".rstrip()


@dataclass(frozen=True)
class Trial:
    """One combination of levels and what came of it.

    Args:
        optimization: the optimization level.
        compression: the compression level.
        steps: its steps, as they are typed behind `-p`.
        value: the goal's metric; NaN if it could not run.
        drop: what it loses against full precision; None where nothing is compared.
        excess: by how much the goal is missed; zero or less if it is met.
        weight_bytes: the weights at their bits; 0 if it could not run.
        seconds: how long it took, stages in common with the trial before it left out.
        metrics: evaluator → metric → value.
        digest: digest of the model; empty if it could not run.
        fault: why it could not run; empty otherwise.
    """

    optimization: int
    compression: int
    steps: tuple[str, ...]
    value: float
    drop: float | None
    excess: float
    weight_bytes: int
    seconds: float
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    digest: str = ""
    fault: str = ""

    @property
    def within(self) -> bool:
        """Whether the goal is met."""
        return self.excess <= 0

    @property
    def name(self) -> str:
        """Which levels it is."""
        return f"optimization level {self.optimization}, compression level {self.compression}"


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Args:
        trials: everything that was tried, in order.
        best: the smallest within the goal; None if nothing was.
        complete: whether the walk came to its end before the time did.
    """

    trials: tuple[Trial, ...]
    best: Trial | None
    complete: bool = True


def search(
    optimizations: Sequence[int],
    compressions: Sequence[int],
    attempt: Callable[[int, int], Trial],
    *,
    time_left: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Walk up a staircase: within the goal, compress more; outside, optimize more.

    It begins with the cheapest optimization and the least compression. A success makes every
    combination of the same or less compression pointless; a failure makes more compression at
    that optimization pointless, as far as accuracy falls with compression. So each attempt rules
    out a row or a column, and there are at most `len(optimizations) + len(compressions) − 1`.
    Nothing is assumed of dearer optimizations: each gets its attempt at the next compression.

    Args:
        optimizations: optimization levels, from cheap to dear.
        compressions: compression levels, rising.
        attempt: runs and measures one combination.
        time_left: whether another attempt may begin; the first always may.
    """
    trials: list[Trial] = []
    best: Trial | None = None
    reached = 0
    for optimization in optimizations:
        while reached < len(compressions):
            if trials and not time_left():
                return Outcome(tuple(trials), best, complete=False)
            trial = attempt(optimization, compressions[reached])
            trials.append(trial)
            if not trial.within:
                break
            best = trial if best is None or trial.weight_bytes < best.weight_bytes else best
            reached += 1
    return Outcome(tuple(trials), best)


def nothing_fits(goal: Goal, trials: Sequence[Trial]) -> NothingFitsError:
    """Return the error for a search without success: the closest attempt and the remedies."""
    ran = [trial for trial in trials if not trial.fault]
    if not ran:
        reasons = "; ".join(dict.fromkeys(trial.fault for trial in trials))
        return NothingFitsError(
            f"Nothing that was tried could run: {reasons}",
            hint="See `fewbits doctor`.",
            goal=goal,
            trials=tuple(trials),
        )
    best = min(ran, key=lambda trial: trial.excess)
    lost = "" if best.drop is None else f", a drop of {_amount(round(best.drop, 4), goal.unit)}"
    value = _amount(round(best.value, 4), goal.unit)
    return NothingFitsError(
        f"Nothing that was tried reaches the goal, {goal.name}. The best, {best.name}, has"
        f" {value}{lost}.",
        hint="Allow more (with --resume nothing is tried twice), give more calibration images, or"
        " add optimization levels with --levels.",
        goal=goal,
        trials=tuple(trials),
    )


def to_dict(trial: Trial) -> dict[str, Any]:
    """Return a trial as JSON knows it; what is not finite is None."""
    plain = {**vars(trial), "steps": list(trial.steps), "metrics": _plain(trial.metrics)}
    return {key: _finite(value) for key, value in plain.items()}


def from_dict(held: Mapping[str, Any]) -> Trial:
    """Return the trial that `to_dict` wrote.

    Raises:
        KeyError, TypeError: it is no such trial.
    """
    value = math.nan if held["value"] is None else held["value"]
    excess = math.inf if held["excess"] is None else held["excess"]
    return Trial(**{**held, "steps": tuple(held["steps"]), "value": value, "excess": excess})


def _plain(metrics: Metrics) -> dict[str, dict[str, Any]]:
    return {n: {k: _finite(v) for k, v in part.items()} for n, part in metrics.items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
