"""The errors that fewbits raises on purpose; everything else is a bug and keeps its traceback."""

import difflib
from collections.abc import Iterable


class FewbitsError(Exception):
    """Base of all deliberate errors.

    Args:
        message: what is wrong and where, in one sentence.
        hint: what the user can do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FewbitsError):
    """The command line or a call cannot be understood."""

    exit_code = 2


class ModelError(FewbitsError):
    """The network cannot be read, or holds something that cannot be handled."""


class DataError(FewbitsError):
    """Images, arrays or labels are missing, unreadable or do not fit."""


class RecipeError(FewbitsError):
    """A recipe, a step or an option is wrong."""


class ArchiveError(FewbitsError):
    """An archive is damaged, too new, or unsafe to read."""


class PluginError(FewbitsError):
    """A plugin or one of its components cannot be used."""


class TargetError(FewbitsError):
    """The target cannot represent or run what it was given."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown word: the closest known one, then all of them.

    >>> nearest("quantise", ["quantize", "tse"])
    "Did you mean 'quantize'? Known: quantize, tse."
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    return f"{guess}Known: {', '.join(names) or 'none'}."
