"""The step `hailo_script`: what a model script says to the compiler alone, kept with the model."""

from dataclasses import replace

from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.options import Options
from fewbits.provenance import Report
from fewbits.recipe import Recipe, Step
from pydantic import Field

NAME = "hailo_script"
CONVERSION = "input_conversion"
#: steps that must come first, since they settle what the network takes.
_FIRST = (
    "normalization",
    "input_conversion",
    "resize",
    "input_layout",
    "output_activation",
    "logits",
)


class HailoScriptOptions(Options):
    """Options of `hailo_script`."""

    lines: tuple[str, ...] = Field(
        (), description="Lines of a model script for Hailo's compiler, in order."
    )
    source: str = Field("", description="The whole script as it was written.")


class HailoScript(Algorithm):
    """Keeps what a model script says to Hailo's compiler; the network stays as it is.

    `compile` hands the lines over. They stand in the history, so that a replay needs no script.
    """

    name = NAME
    stage = Stage.OPTIMIZED
    float_tolerance = 0.0
    Options = HailoScriptOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model unchanged."""
        count = len(self.options.lines)
        said = f"{count} line{'' if count == 1 else 's'} for Hailo's compiler"
        report = Report(False, said if count else "nothing is for Hailo's compiler alone")
        return Result(model.advance(self.stage), report)


def with_line(recipe: Recipe, line: str) -> Recipe:
    """Return the recipe with one line more for Hailo's compiler, unless it is there.

    >>> [str(step) for step in with_line(Recipe((Step("quantize"),)), "a()").steps]
    ['hailo_script:lines=[a()]', 'quantize']
    """
    held = next((step for step in recipe.steps if step.use == NAME), None)
    if held is None:
        ahead = (i for i, step in enumerate(recipe.steps) if step.use not in _FIRST)
        first = next(ahead, len(recipe.steps))
        added = Step(NAME, {"lines": [line]})
        return replace(recipe, steps=(*recipe.steps[:first], added, *recipe.steps[first:]))
    lines = [*held.options.get("lines", ())]
    changed = Step(NAME, {**held.options, "lines": [*dict.fromkeys([*lines, line])]})
    return replace(recipe, steps=tuple(changed if s is held else s for s in recipe.steps))


def handover_lines(model: Model) -> tuple[str, ...]:
    """Return the script lines that Hailo's compiler is to get, in order.

    They are those that change nothing here: placement, resources, post-processing, and what the
    compiler's own quantization has and fewbits has not (bias modes, negative exponents). What
    became a step here is not among them: precision modes stand in `model.precisions`, edits and
    normalization in the graph. Of several scripts the last one holds. An input conversion that was
    left to the device, and that no line names, is a line of its own.
    """
    records = [record for record in model.history if record.use == NAME]
    lines = tuple(map(str, records[-1].options.get("lines", ()))) if records else ()
    if any("input_conversion(" in line for line in lines):
        return lines
    return (*lines, *_conversions(model))


def _conversions(model: Model) -> list[str]:
    """Return a line for each input conversion that the device is to do."""
    held = [r.options for r in model.history if r.use == CONVERSION]
    found = []
    for number, options in enumerate((o for o in held if not o.get("emulator_support")), 1):
        name = options.get("input") or model.input_names[0]
        port = f"input_layer{model.input_names.index(str(name)) + 1}"
        found.append(f"input_conversion{number} = input_conversion({port}, {options['kind']})")
    return found


def source_of(model: Model) -> str:
    """Return the script that the model was made with, as it was written; empty for none."""
    records = [record for record in model.history if record.use == NAME]
    return str(records[-1].options.get("source", "")) if records else ""
