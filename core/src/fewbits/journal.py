"""What was tried, on disk, so that an interrupted search goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewbits.atomic import write_bytes
from fewbits.errors import RecipeError
from fewbits.tuning import Trial, from_dict, to_dict


class Journal:
    """Trials by their levels; with a path, every one is written at once.

    Args:
        path: the file; None keeps them in memory alone.
        setting: what the search depends on, JSON-able; another setting's trials are refused.
    """

    def __init__(self, path: Path | None, setting: Mapping[str, Any]) -> None:
        self._path = path
        self._setting = json.loads(json.dumps(dict(setting)))
        self._held: dict[tuple[int, int], Trial] = {}

    def resume(self) -> None:
        """Take in the trials of the file, if there is one.

        Raises:
            RecipeError: it is damaged, or was written by another search; says what differs.
        """
        if self._path is None or not self._path.exists():
            return
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            trials = [from_dict(each) for each in document["trials"]]
            before = dict(document["setting"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecipeError(
                f"{self._path} does not hold a search to go on with: {error}.",
                hint="Run with --restart to begin anew.",
            ) from error
        for key, now in self._setting.items():
            if before.get(key) != now:
                raise RecipeError(
                    f"{self._path} belongs to another search: its {key} was {before.get(key)!r},"
                    f" and now it is {now!r}.",
                    hint="Run with what it was started with, or with --restart to begin anew.",
                )
        self._held = {(trial.optimization, trial.compression): trial for trial in trials}

    def find(self, optimization: int, compression: int) -> Trial | None:
        """Return the trial of these levels, if there was one."""
        return self._held.get((optimization, compression))

    def add(self, trial: Trial) -> None:
        """Take in a trial and write them all.

        Raises:
            FewbitsError: the file cannot be written.
        """
        self._held[trial.optimization, trial.compression] = trial
        if self._path is not None:
            document = {"setting": self._setting, "trials": [*map(to_dict, self._held.values())]}
            write_bytes(self._path, json.dumps(document, indent=2).encode())
