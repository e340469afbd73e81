"""What the model-handling commands share: reading a network or an archive, writing one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewbits.errors import DataError, UsageError

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.model import Model
    from fewbits.preprocess import Preprocess

_ZIP_MAGIC = b"PK\x03\x04"

PARSING = "Reading the network"

Source = Annotated[
    Path, typer.Argument(metavar="FILE", help="A network (ONNX) or an archive (.fewbits).")
]
StartNodes = Annotated[
    list[str] | None,
    typer.Option(
        "--start-node-names",
        metavar="NAMES",
        rich_help_panel=PARSING,
        help="Begin at these nodes; separated by commas, or repeat the option.",
    ),
]
EndNodes = Annotated[
    list[str] | None,
    typer.Option(
        "--end-node-names",
        metavar="NAMES",
        rich_help_panel=PARSING,
        help="End at these nodes; separated by commas, or repeat the option.",
    ),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="[NAME=]1x3x48x192",
        rich_help_panel=PARSING,
        help="Fix an input's dynamic dimensions; without the batch too: 3x48x192.",
    ),
]
PreprocessText = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        metavar="TEXT",
        help="How pictures become inputs: resize=256,crop=224,mean=127,std=128. "
        "It is kept in the archive.",
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", help="The model's name; default: the file's stem.")
]
HwArch = Annotated[str, typer.Option("--hw-arch", metavar="TARGET", help="The target device.")]


@dataclass(frozen=True)
class ParseFlags:
    """The options that say how a network is read.

    Args:
        start_node_names: nodes to begin at, each entry possibly a list with commas.
        end_node_names: nodes to end at, likewise.
        input_shape: `[NAME=]AxBxC`, one per input.
        preprocess: how pictures become inputs, as typed.
        name: the model's name.
    """

    start_node_names: Sequence[str] = ()
    end_node_names: Sequence[str] = ()
    input_shape: Sequence[str] = ()
    preprocess: str | None = None
    name: str | None = None

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments of `fewbits.parse`."""
        return {
            "start_node_names": split_names(self.start_node_names),
            "end_node_names": split_names(self.end_node_names),
            "input_shape": parse_shapes(self.input_shape),
            "preprocess": read_preprocess(self.preprocess),
        }

    @property
    def cuts(self) -> bool:
        """Whether the network is read otherwise than as a whole."""
        return bool(self.start_node_names or self.end_node_names or self.input_shape)


def split_names(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names in `texts`, each of which may hold several with commas between.

    >>> split_names(["a,b", "c"])
    ('a', 'b', 'c')
    """
    return tuple(name.strip() for text in texts or () for name in text.split(",") if name.strip())


def parse_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Return input name → shape; the name is empty where none was given.

    Raises:
        UsageError: a text is not of the form `[NAME=]1x3x48x192`.

    >>> parse_shapes(["x=1x3x48x192"]), parse_shapes(["3x48x192"])
    ({'x': (1, 3, 48, 192)}, {'': (3, 48, 192)})
    """
    shapes = {}
    for text in texts or ():
        name, _, numbers = text.rpartition("=")
        dims = numbers.replace(",", "x").split("x")
        if not all(dim.strip().isdigit() and int(dim) > 0 for dim in dims):
            raise UsageError(
                f"--input-shape '{text}' is no shape.",
                hint="Write 1x3x48x192, with the input's name in front where there are "
                "several: x=1x3x48x192.",
            )
        shapes[name] = tuple(int(dim) for dim in dims)
    return shapes


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
        raise DataError(f"{path} cannot be read: {error.strerror}.", hint="") from error


Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="PATH", help="Where to write; default: NAME.fewbits."),
]


def open_model(session: "Session", path: Path, flags: ParseFlags) -> "Model":
    """Read a network or an archive; preprocessing that was given replaces the archive's.

    Raises:
        UsageError: parse options were given for an archive.
        FewbitsError: the file cannot be read; says why.
    """
    from fewbits import api

    if not is_archive(path):
        with session.progress():
            model = api.parse(path, registry=session.registry, **flags.keywords())
        return model if flags.name is None else model.replace(name=flags.name)
    if flags.cuts:
        raise UsageError(
            f"{path} is parsed already; nodes and shapes cannot be chosen any more.",
            hint="Give the network's own file instead.",
        )
    model = api.load(path)
    preprocess = read_preprocess(flags.preprocess)
    return model if preprocess is None else model.replace(preprocess=preprocess)


def output_path(output: Path | None, source: Path, model_name: str) -> Path:
    """Return where an archive goes: `output`, the archive it came from, or NAME.fewbits here."""
    if output is not None:
        return output
    return source if is_archive(source) else Path(f"{model_name}.fewbits")


def check_writable(path: Path) -> None:
    """Find out before a long run whether its result can be written.

    Raises:
        DataError: the folder is missing or may not be written, or `path` is a folder.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise DataError(f"{path} is a folder.", hint="Give the path of a file.")
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", hint="Create it, or choose another path.")
    if not os.access(folder, os.W_OK):
        raise DataError(
            f"The folder {folder} may not be written.", hint="Choose another path with -o."
        )
