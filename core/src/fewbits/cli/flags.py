"""The options that several model-handling commands share, and what their texts mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewbits.errors import UsageError

if TYPE_CHECKING:
    from fewbits.preprocess import Preprocess

_NAME_LISTS = ("--start-node-names", "--end-node-names")
_SHAPE_HINT = "Write 1x3x48x192; with several inputs, the name in front: x=1x3x48x192."

Source = Annotated[
    Path, typer.Argument(metavar="FILE", help="A network (ONNX) or an archive (.fewbits).")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="The archive to write; default: the one read, or NAME.fewbits here.",
    ),
]
StartNodes = Annotated[
    list[str] | None,
    typer.Option(
        "--start-node-names",
        metavar="NAMES",
        help="Begin at these nodes; separated by commas or blanks.",
    ),
]
EndNodes = Annotated[
    list[str] | None,
    typer.Option(
        "--end-node-names",
        metavar="NAMES",
        help="End at these nodes; separated by commas or blanks.",
    ),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="SHAPE",
        help="Fix an input's dynamic dimensions: 3x48x192, or 1x3x48x192 with the batch; "
        "x=3x48x192 names the input.",
    ),
]
PreprocessText = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        metavar="TEXT",
        help="How pictures become inputs, such as 'resize=256,crop=224,mean=127,std=128'; "
        "it is kept in the archive.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="The model's name; default: the file's stem."),
]
HwArch = Annotated[
    str, typer.Option("--hw-arch", metavar="TARGET", help="The target; see `fewbits list targets`.")
]
CalibPath = Annotated[
    str | None,
    typer.Option(
        "--calib-path",
        metavar="PATH",
        help="Unlabelled samples to calibrate on: a folder of pictures, an npy or npz file, "
        "FILE.npz#key.",
    ),
]
CalibCount = Annotated[
    int | None,
    typer.Option("--calib-count", metavar="N", min=1, help="Take the first N only."),
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


@dataclass(frozen=True)
class Levels:
    """The levels that were asked for.

    Args:
        optimization: -100, or 0 to 4; None for the best default that can run.
        compression: 0 to 5; None for 0.
        allow_downgrade: whether to go on where a need is not met.
    """

    optimization: int | None = None
    compression: int | None = None
    allow_downgrade: bool = False

    @property
    def given(self) -> bool:
        """Whether anything was asked for."""
        return self != Levels()


@dataclass(frozen=True)
class ParseFlags:
    """The options that say how a network is read, as typed.

    Args:
        start_node_names: nodes to begin at, each entry possibly a list with commas.
        end_node_names: nodes to end at, likewise.
        input_shape: `[NAME=]AxBxC`, one per input.
        preprocess: how pictures become inputs.
        name: the model's name.
    """

    start_node_names: Sequence[str] | None = None
    end_node_names: Sequence[str] | None = None
    input_shape: Sequence[str] | None = None
    preprocess: str | None = None
    name: str | None = None

    @property
    def cuts(self) -> bool:
        """Whether the network is read otherwise than as a whole."""
        return bool(self.start_node_names or self.end_node_names or self.input_shape)


def split_names(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names in `texts`, each of which may hold several with commas between.

    >>> split_names(["a,b", "c"])
    ('a', 'b', 'c')
    """
    names = (name.strip() for text in texts or () for name in text.split(","))
    return tuple(name for name in names if name)


def spread_names(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with names that stand behind one `--end-node-names` each under its own.

    Names may be listed with blanks between; the list ends at the next option or at a file.

    >>> spread_names(["net.onnx", "--end-node-names", "a", "b", "--json"])
    ['net.onnx', '--end-node-names', 'a', '--end-node-names', 'b', '--json']
    """
    spread: list[str] = []
    option = before = ""
    for word in arguments:
        if word.startswith("-"):
            option = word if word in _NAME_LISTS else ""
        elif before != option:  # not the first name, which has its option already
            option = "" if Path(word).is_file() else option
            spread.extend([option] if option else [])
        spread.append(word)
        before = word
    return spread


def parse_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]] | tuple[int, ...]:
    """Return input name → shape, or just the shape where no name was given.

    Raises:
        UsageError: a text is not of the form `[NAME=]1x3x48x192`, or it is not clear which
            input is meant.

    >>> parse_shapes(["x=1x3x48x192"]), parse_shapes(["3x48x192"])
    ({'x': (1, 3, 48, 192)}, (3, 48, 192))
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, _, numbers = text.rpartition("=")
        sides = [side.strip() for side in numbers.replace(",", "x").split("x")]
        if not all(side.isdecimal() and int(side) > 0 for side in sides):
            raise UsageError(f"--input-shape '{text}' is no shape.", hint=_SHAPE_HINT)
        if name in shapes or (shapes and "" in (name, *shapes)):
            raise UsageError("--input-shape: which input is meant?", hint=_SHAPE_HINT)
        shapes[name] = tuple(map(int, sides))
    return shapes.get("", shapes)


def read_preprocess(text: str | None) -> "Preprocess | None":
    """Return the preprocessing that `text` describes; None for no text."""
    if text is None:
        return None
    from fewbits.preprocess import parse_preprocess

    return parse_preprocess(text)


@dataclass(frozen=True)
class Run:
    """How a recipe runs.

    Args:
        calib_path: where the calibration samples are; None for none.
        calib_count: how many of them.
        target: the target's name.
        seed: where all chance comes from.
        threads: how many threads; None lets the runtime choose.
        batch_size: samples per run of the network while it is calibrated.
        levels: the levels, where no steps are named.
    """

    calib_path: str | None
    calib_count: int | None
    target: str
    seed: int
    threads: int | None
    batch_size: int = 4
    levels: Levels = Levels()
