"""What the model-handling commands share: their options, reading models and data, writing."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewbits.errors import DataError, UsageError

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.data import Dataset
    from fewbits.model import Model
    from fewbits.preprocess import Preprocess

_ZIP_MAGIC = b"PK\x03\x04"
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
        help="Begin at these nodes; separated by commas, or repeat the option.",
    ),
]
EndNodes = Annotated[
    list[str] | None,
    typer.Option(
        "--end-node-names",
        metavar="NAMES",
        help="End at these nodes; separated by commas, or repeat the option.",
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


def is_archive(path: Path) -> bool:
    """Say whether `path` is one of our archives, by its name or its first bytes.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return path.suffix == ".fewbits" or file.read(4) == _ZIP_MAGIC
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.", hint="Check the path.") from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", hint="Give a file that you may read."
        ) from error


def open_model(session: "Session", path: Path, flags: ParseFlags) -> "Model":
    """Read a network or an archive; preprocessing that is given replaces the archive's.

    Raises:
        UsageError: parse options were given for an archive.
        FewbitsError: the file cannot be read; says why.
    """
    preprocess = read_preprocess(flags.preprocess)
    model = _load(session, path, flags) if is_archive(path) else _parse(session, path, flags)
    if flags.name is not None:
        model = model.replace(name=flags.name)
    return model if preprocess is None else with_preprocess(model, preprocess)


def _load(session: "Session", path: Path, flags: ParseFlags) -> "Model":
    if flags.cuts:
        raise UsageError(
            f"{path} is parsed already; nodes and shapes cannot be chosen any more.",
            hint="Give the network's own file instead.",
        )
    with session.working(f"reading {path}"):
        from fewbits import api

        return api.load(path)


def _parse(session: "Session", path: Path, flags: ParseFlags) -> "Model":
    shape = parse_shapes(flags.input_shape)
    with session.working(f"reading {path}"):
        from fewbits import api

        return api.parse(
            path,
            start_node_names=split_names(flags.start_node_names),
            end_node_names=split_names(flags.end_node_names),
            input_shape=shape,
            registry=session.registry,
        )


def with_preprocess(model: "Model", preprocess: "Preprocess") -> "Model":
    """Return the model with this preprocessing at each of its stages."""
    past = tuple(each.replace(preprocess=preprocess) for each in model.ancestors)
    return model.replace(preprocess=preprocess, ancestors=past)


def open_data(
    session: "Session", path: str | None, model: "Model", count: int | None
) -> "Dataset | None":
    """Open samples for the model's inputs; None where no path was given.

    Raises:
        DataError: they cannot be read, do not fit, or are fewer than `count`.
    """
    if path is None:
        return None
    from fewbits import api

    return api.open_data(path, model, session.registry, count)


@dataclass(frozen=True)
class Run:
    """How a recipe runs.

    Args:
        calib_path: where the calibration samples are; None for none.
        calib_count: how many of them.
        target: the target's name.
        seed: where all chance comes from.
        threads: how many threads; None lets the runtime choose.
        batch_size: samples per run.
    """

    calib_path: str | None
    calib_count: int | None
    target: str
    seed: int
    threads: int | None
    batch_size: int


def ensure_quantized(session: "Session", model: "Model", run: Run) -> "Model":
    """Return the model, quantized by the default recipe if it was not yet.

    Raises:
        FewbitsError: it was not, and there is no calibration data, or a step fails.
    """
    from fewbits import api
    from fewbits.model import Stage

    if model.stage.rank >= Stage.QUANTIZED.rank:
        return model
    calibration = open_data(session, run.calib_path, model, run.calib_count)
    with session.progress():
        return api.optimize(model, calibration=calibration, **settings(session, run))


def settings(session: "Session", run: Run) -> dict[str, Any]:
    """Return the keywords of `api.optimize` that say how to run."""
    return {
        "target": run.target,
        "seed": run.seed,
        "threads": run.threads,
        "batch_size": run.batch_size,
        "registry": session.registry,
    }


def output_path(output: Path | None, source: Path, model_name: str) -> Path:
    """Return where an archive goes: `output`, the archive it came from, or NAME.fewbits here."""
    if output is not None:
        return output
    return source if is_archive(source) else Path(f"{model_name}.fewbits")


def check_output(path: Path, source: Path) -> None:
    """Find out before a long run whether its result can be written.

    Raises:
        DataError: the folder is missing or may not be written, or `path` is a folder.
        UsageError: `path` is the network that is read.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise DataError(f"{path} is a folder.", hint="Give the path of a file.")
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", hint="Create it, or choose another path.")
    if not os.access(folder, os.W_OK):
        raise DataError(f"The folder {folder} may not be written.", hint="Choose another with -o.")
    if path.exists() and path.samefile(source) and not is_archive(source):
        raise UsageError(f"{path} is the network itself.", hint="Choose another path with -o.")
