"""The options that say which steps run, and what they come to."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewbits.errors import UsageError

if TYPE_CHECKING:
    from fewbits.plugins import Registry
    from fewbits.preparing import Wish
    from fewbits.recipe import Recipe, Step

Steps = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--step",
        metavar="STEP",
        help="A step with its options, such as 'quantize:precision=a8_w4'; repeat for a chain. "
        "Default: what the levels stand for. See `fewbits list algorithms` and "
        "`fewbits describe NAME`.",
    ),
]
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        metavar="FILE",
        help="Take the steps from a TOML file, or from a model script as --model-script does.",
    ),
]
ModelScript = Annotated[
    Path | None,
    typer.Option(
        "--model-script",
        metavar="FILE",
        help="Change the levels' steps as a script of another tool says, such as Hailo's .alls; "
        "levels that are given win over the script's.",
    ),
]
Lenient = Annotated[
    bool,
    typer.Option(
        "--lenient",
        help="Leave out lines of the model script that are not known here, with a warning each.",
    ),
]
OptimizationLevel = Annotated[
    int | None,
    typer.Option(
        "--optimization-level",
        metavar="N",
        help="How much is done for accuracy: -100, or 0 to 4; see `fewbits describe level`. "
        "Default: the best of 2, 1, 0 that can run.",
    ),
]
CompressionLevel = Annotated[
    int | None,
    typer.Option(
        "--compression-level",
        metavar="N",
        help="How many weights get 4 bits: 0 (none) to 5 (all). Default: 0.",
    ),
]
AllowDowngrade = Annotated[
    bool,
    typer.Option(
        "--allow-downgrade",
        help="Where a level's need is not met, go on with what is there; each thing that is "
        "lowered is said.",
    ),
]
Resize = Annotated[
    tuple[int, int] | None,
    typer.Option(
        "--resize",
        metavar="H W",
        help="Pictures come in with H rows and W columns, and the network resizes them: the step "
        "`resize` behind the edits that the steps begin with.",
    ),
]
InputConversion = Annotated[
    str | None,
    typer.Option(
        "--input-conversion",
        metavar="KIND",
        help="Pictures come in another form, such as nv12_to_rgb, yuy2_to_rgb, rgbx_to_rgb: the "
        "step `input_conversion` likewise.",
    ),
]
Performance = Annotated[
    bool,
    typer.Option(
        "--performance",
        help="Have the target's own compiler search for the fastest result; an error where it has "
        "no such setting.",
    ),
]

_TYPED = {"steps": "-p"}


@dataclass(frozen=True)
class StepFlags:
    """Which steps run: named ones, or those of the levels as a script changes them; and edits."""

    steps: Steps = None
    recipe: RecipeFile = None
    model_script: ModelScript = None
    lenient: Lenient = False
    optimization_level: OptimizationLevel = None
    compression_level: CompressionLevel = None
    allow_downgrade: AllowDowngrade = False
    resize: Resize = None
    input_conversion: InputConversion = None
    performance: Performance = False

    @property
    def given(self) -> list[str]:
        """The options that were given, as they are typed."""
        names = [each.name for each in fields(self) if getattr(self, each.name)]
        zero = ("optimization_level", "compression_level")
        names += [name for name in zero if getattr(self, name) == 0]
        return [_TYPED.get(name, f"--{name.replace('_', '-')}") for name in names]

    @property
    def edits(self) -> "tuple[Step, ...]":
        """The steps that change what the network takes."""
        from fewbits.recipe import Step

        size = self.resize and Step("resize", {"height": self.resize[0], "width": self.resize[1]})
        form = self.input_conversion
        kind = form and Step("input_conversion", {"kind": form})
        return tuple(step for step in (size, kind) if step)

    @property
    def levels(self) -> tuple[int | None, int | None, bool]:
        """The levels, and whether to go on where a need is not met."""
        return self.optimization_level, self.compression_level, self.allow_downgrade


def wish_of(flags: StepFlags, registry: "Registry", suited: "Recipe | None" = None) -> "Wish":
    """Return what is to be done.

    Args:
        flags: the options.
        registry: the plugins; says which files are scripts.
        suited: the steps that suit the network best, where the user names none.

    Raises:
        UsageError: more than one of them says what runs.
        RecipeError: a step or a recipe is not of the right form.
    """
    from fewbits.preparing import Wish, is_script
    from fewbits.recipe import Recipe, parse_step

    one_source(flags)
    script, file = flags.model_script, flags.recipe
    if file is not None and is_script(file, registry):
        script, file = file, None
    if flags.lenient and script is None:
        raise UsageError("There is no model script to be lenient with.", hint="Add --model-script.")
    named = None if file is None else Recipe.load(file)
    if flags.steps:
        named = Recipe(tuple(map(parse_step, flags.steps)))
    untold = named is None and script is None and flags.levels == (None, None, False)
    if named is not None and flags.levels != (None, None, False):
        _refuse_both(["-p" if flags.steps else "--recipe", "the levels"])
    return Wish(
        suited if untold else named,
        script,
        flags.lenient,
        *flags.levels,
        edits=flags.edits,
        for_speed=flags.performance,
    )


def one_source(flags: StepFlags) -> None:
    """Raise unless at most one option names the steps.

    Raises:
        UsageError: several do.
    """
    sources = [each for each in flags.given if each in ("-p", "--recipe", "--model-script")]
    if len(sources) > 1:
        _refuse_both(sources)


def _refuse_both(sources: Sequence[str]) -> None:
    raise UsageError(
        f"{sources[0]} and {sources[1]} both say which steps to run.",
        hint="Give one of them; `fewbits describe level 2` prints a level's steps to change.",
    )
