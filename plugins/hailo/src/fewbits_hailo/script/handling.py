"""What the handlers of commands share."""

from collections.abc import Callable, Sequence

from fewbits_hailo.script.draft import Effect
from fewbits_hailo.script.said import Said, UnfitError
from fewbits_hailo.script.selecting import Layers, Selection, UnknownLayerError
from fewbits_hailo.script.syntax import Glob, Value

#: takes what a statement says, and the network's layers; returns what it does to the recipe.
Handler = Callable[[Said, Layers], Sequence[Effect]]

EVERYTHING = Glob("*")


def selected(said: Said, layers: Layers, option: str = "layers") -> Selection:
    """Return what an option selects; everything where it is not given.

    Raises:
        UnfitError: a part of it selects nothing.
    """
    return select(layers, said.values.get(option, EVERYTHING), option)


def select(layers: Layers, value: Value, option: str) -> Selection:
    """Return what a selector selects.

    Raises:
        UnfitError: a part of it selects nothing.
    """
    try:
        return layers.select(value)
    except UnknownLayerError as error:
        raise UnfitError(option, error.message, error.hint) from error


def weighted(layers: Layers, selection: Selection, option: str = "layers") -> tuple[str, ...]:
    """Return the selected layers that have weights.

    Raises:
        UnfitError: a layer that is named has none.
    """
    try:
        return layers.weighted(selection)
    except UnknownLayerError as error:
        raise UnfitError(option, error.message, error.hint) from error


def need(said: Said, *options: str) -> None:
    """Check that a statement says what it cannot do without.

    Raises:
        UnfitError: it does not.
    """
    for option in options:
        if option not in said.values:
            title = said.command.title if said.command else said.statement.command
            raise UnfitError(option, f"{title} needs '{option}'", "Add it.")


def within(said: Said, option: str, low: float, high: float, *, open_low: bool = False) -> None:
    """Check that a number lies between bounds.

    Raises:
        UnfitError: it does not.
    """
    value = said.values.get(option)
    if value is None or (value <= high and (low < value or (value == low and not open_low))):
        return
    bounds = f"above {low:g}" if open_low else f"at least {low:g}"
    most = "" if high == float("inf") else f" and at most {high:g}"
    raise UnfitError(option, f"option '{option}' is {value:g}: it must be {bounds}{most}")
