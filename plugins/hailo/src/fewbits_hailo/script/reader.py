"""The script reader `alls`: a model script becomes changes of a recipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewbits.errors import RecipeError
from fewbits.graph import is_layer
from fewbits.interfaces import Script, ScriptReader, Target
from fewbits.model import Model
from fewbits.recipe import Recipe, Step

from fewbits_hailo.script.draft import Draft, Effect, NoPlaceError, finished
from fewbits_hailo.script.interpreting import Line, interpret, remaining
from fewbits_hailo.script.parsing import load, parse
from fewbits_hailo.script.rows import Use
from fewbits_hailo.script.said import Fault
from fewbits_hailo.script.selecting import Layers
from fewbits_hailo.script.step import NAME
from fewbits_hailo.script.syntax import Glob

_LENIENT = "--lenient leaves such lines out here, keeps them for the compiler and warns."


@dataclass(frozen=True)
class AllsScript(Script):
    """A model script, read for one network.

    Args:
        lines: what each of its lines comes to.
        kept: lines for the compiler, in order.
        text: the whole script.
        source: where it came from, for messages.
        every: names of the network's layers with weights.
        warnings: lines that were left out, with the reason.
        optimization_level: the last one that a line names.
        compression_level: likewise.
        seed: likewise.
    """

    lines: tuple[Line, ...]
    kept: tuple[str, ...]
    text: str
    source: str
    every: tuple[str, ...] = ()
    warnings: Sequence[str] = ()
    optimization_level: int | None = None
    compression_level: int | None = None
    seed: int | None = None

    def adapt(self, recipe: Recipe) -> Recipe:
        """Return what the script makes of the recipe that the levels stand for.

        Lines work in their order, whatever the level; what they say of a step replaces what the
        level says. The script itself becomes a step behind the edits, to be kept with the model.

        Raises:
            RecipeError: the script and the recipe do not go together; says which line.
        """
        draft = Draft(recipe.steps, every=self.every).without(NAME)
        draft = draft.add(Step(NAME, {"lines": list(self.kept), "source": self.text}))
        effects = [(line, effect) for line in self.lines for effect in line.effects]
        for late in (False, True):
            for line, effect in effects:
                if effect.late is late:
                    draft = self._changed(draft, line, effect)
        return finished(draft, recipe.level)

    def _changed(self, draft: Draft, line: Line, effect: Effect) -> Draft:
        try:
            return effect.change(draft)
        except NoPlaceError as error:
            place = f"{self.source}, line {line.number}"
            raise RecipeError(f"{place}: {error.message}.", hint=error.hint) from error


class AllsReader(ScriptReader):
    """Reads Hailo's model scripts."""

    name = "alls"
    suffixes = (".alls",)

    def read(
        self, path: Path, model: Model, target: Target, *, lenient: bool = False
    ) -> AllsScript:
        """Read a script for a network.

        Layers have the same names on every Hailo device, and on targets that have no names of
        their own, so that a script can be tried on any of them.

        Raises:
            RecipeError: a line that cannot be read or done; with line, column and remedy.
        """
        return read_text(load(path), model, target, source=str(path), lenient=lenient)


def read_text(
    text: str,
    model: Model,
    target: Target | None = None,
    *,
    source: str = "model script",
    lenient: bool = False,
) -> AllsScript:
    """Read a script that is at hand as text.

    Args:
        text: the script.
        model: the network that it is for.
        target: the hardware target, whose precision modes are to be kept to; None for any.
        source: where it came from, for messages.
        lenient: leave out what cannot be done, with a warning for each line.

    Raises:
        RecipeError: as `AllsReader.read`.
    """
    layers = Layers(model, target)
    lines = interpret(parse(text, source=source), layers)
    faults = [fault for line in lines for fault in line.faults]
    if faults and not lenient:
        raise _refusal(source, faults)
    kept = tuple(filter(None, (remaining(li) if li.faults else li.kept for li in lines)))
    every = layers.select(Glob("*"))
    with_weights = tuple(layers.weighted(every)) if _has_layers(layers) else ()
    warnings = tuple(f"{source}, {_told(line)}" for line in lines if line.faults)
    return AllsScript(
        lines,
        kept,
        text,
        source,
        with_weights,
        warnings,
        _named(lines, "optimization_level"),
        _named(lines, "compression_level"),
        _named(lines, "seed"),
    )


def _named(lines: Sequence[Line], option: str) -> int | None:
    """Return what the last line that names a level or a seed says."""
    said: list[Any] = [
        line.said.values[option]
        for line in lines
        if line.use is Use.LEVEL and option in line.said.values
    ]
    return int(said[-1]) if said else None


def _has_layers(layers: Layers) -> bool:
    return layers.model is not None and any(is_layer(node) for node in layers.model.graph)


def _refusal(source: str, faults: Sequence[Fault]) -> RecipeError:
    first, more = faults[0], len(faults) - 1
    others = f"; {more} more fault{'s' if more > 1 else ''} behind it" if more else ""
    where = f"line {first.line}, column {first.column}"
    check = f" `fewbits hailo check-script {source}` says what each line does." if more else ""
    hint = f"{first.hint} {_LENIENT}{check}".strip()
    return RecipeError(f"{source}, {where}: {first.text}{others}.", hint=hint)


def _told(line: Line) -> str:
    first = line.faults[0]
    rest = remaining(line)
    fate = "kept for the compiler" if rest else "left out"
    what = "; ".join(fault.text for fault in line.faults)
    return f"line {first.line}, column {first.column}: {what} ({fate})"
