"""How the trials of a search and its winner look."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewbits.tuner import Tuned
    from fewbits.tuning import Goal, Trial


def line(trial: "Trial") -> str:
    """Return a trial in one line, for stderr while the search goes on."""
    from fewbits.cli import render

    if trial.fault:
        return f"{trial.name}: {trial.fault}"
    lost = "" if trial.drop is None else f", drop {render.cell(trial.drop)}"
    verdict = "within" if trial.within else "not within"
    return f"{trial.name}: {render.cell(trial.value)}{lost}: {verdict} the goal"


def show_trials(trials: "Sequence[Trial]", goal: "Goal", best: "Trial | None" = None) -> None:
    """Print a table of everything that was tried; the winner is marked."""
    from fewbits.cli import render

    figures = [goal.metric, *(["drop"] if goal.max_drop is not None else [])]
    right = ["level", "compression", *figures, "SNR", "weights", "seconds"]
    if goal.metric == "snr_db":
        figures, right = [], [name for name in right if name != goal.metric]
    columns = ["level", "compression", "steps", *figures, "SNR", "weights", "seconds", "goal"]
    rows = [[_cells(trial, goal, best).get(name) for name in columns] for trial in trials]
    render.table(columns, rows, right=right)


def _cells(trial: "Trial", goal: "Goal", best: "Trial | None") -> dict[str, Any]:
    """Return column → cell."""
    from fewbits.cli.info import size_text

    cells = {
        "level": trial.optimization,
        "compression": trial.compression,
        "steps": ", ".join(step.partition(":")[0] for step in trial.steps),
        "seconds": f"{trial.seconds:.1f}",
    }
    if trial.fault:
        return cells | {"goal": trial.fault}
    return cells | {
        goal.metric: f"{trial.value:.2f} {goal.unit}".rstrip(),
        "drop": "" if trial.drop is None else f"{trial.drop:.2f} {goal.unit}".rstrip(),
        "SNR": f"{trial.metrics['fidelity']['snr_db']:.2f} dB",
        "weights": size_text(trial.weight_bytes),
        "goal": "smallest" if trial == best else "within" if trial.within else "missed",
    }


def show(tuned: "Tuned", path: Path) -> None:
    """Print what was tried, who won, and what the figure is worth."""
    from fewbits.cli import render

    render.heading(tuned.model.name, f"{tuned.goal.name}, on {tuned.images} images")
    for each in tuned.left_out:
        render.text(each)
    show_trials(tuned.trials, tuned.goal, tuned.best)
    if not tuned.complete:
        render.text("The time is over: a smaller model may exist.")
    flags = " ".join(f"-p {shlex.quote(step)}" for step in tuned.best.steps)
    render.text(f"Smallest: {tuned.best.name}: {flags}")
    render.text(f"Wrote {path}")
    render.text("It was chosen on these images: measure it on others before you trust its figure.")


def print_json(tuned: "Tuned", path: Path) -> None:
    """Print everything as JSON."""
    from fewbits.cli import render
    from fewbits.tuning import to_dict

    goal = tuned.goal
    render.print_json(
        {
            "model": tuned.model.name,
            "archive": str(path),
            "goal": {**vars(goal), "text": goal.name},
            "images": tuned.images,
            "complete": tuned.complete,
            "left_out": list(tuned.left_out),
            "trials": [to_dict(trial) | {"within": trial.within} for trial in tuned.trials],
            "best": to_dict(tuned.best),
            "recipe": tuned.recipe.to_toml(),
        }
    )
