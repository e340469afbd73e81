"""The options that several commands share, and the groups in which commands take them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewbits.cli.common import Json, NoPlugin, Quiet, Seed, Threads

if TYPE_CHECKING:
    from fewbits.model import Model

Source = Annotated[
    Path,
    typer.Argument(
        metavar="FILE|NAME",
        help="A network (ONNX), an archive (.fewbits), or a named model; see `fewbits list "
        "models`.",
    ),
]
Archive = Annotated[
    Path | None,
    typer.Option(
        "--archive",
        "--har",
        metavar="FILE",
        help="Take the stages from this archive of the network; default for a named model: "
        "NAME.fewbits here, if it is there.",
    ),
]
Ckpt = Annotated[
    Path | None,
    typer.Option(
        "--ckpt", metavar="FILE", help="A named model's network with weights of your own (ONNX)."
    ),
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
Classes = Annotated[
    int | None,
    typer.Option(
        "--classes",
        metavar="N",
        min=1,
        help="Make sure that an output tells N classes apart, as own weights may have others.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="The model's name; default: the file's stem."),
]
HwArch = Annotated[
    str, typer.Option("--hw-arch", metavar="TARGET", help="The target; see `fewbits list targets`.")
]
DEFAULT_TARGET = "cpu"
TargetName = Annotated[
    str | None,
    typer.Option(
        "--hw-arch",
        metavar="TARGET",
        help="The target; see `fewbits list targets`. Default: what the archive was made for, "
        f"else {DEFAULT_TARGET}.",
    ),
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
class GivenNetwork:
    """The network to read, as typed."""

    file: Source
    ckpt: Ckpt = None


@dataclass(frozen=True)
class Given(GivenNetwork):
    """What to work on, as typed: a network, or the archive with its stages."""

    archive: Archive = None


@dataclass(frozen=True)
class ParseFlags:
    """How a network is read, as typed; each name list may hold commas."""

    start_node_names: StartNodes = None
    end_node_names: EndNodes = None
    input_shape: InputShape = None
    preprocess: PreprocessText = None
    classes: Classes = None
    name: Name = None

    @property
    def cuts(self) -> bool:
        """Whether the network is read otherwise than as a whole."""
        return bool(self.start_node_names or self.end_node_names or self.input_shape)


@dataclass(frozen=True)
class Run:
    """On what samples, for which target and with what chance and threads steps run."""

    calib_path: CalibPath = None
    calib_count: CalibCount = None
    hw_arch: TargetName = None
    seed: Seed = 0
    threads: Threads = None

    def target_for(self, model: "Model") -> str:
        """Return the target: the one asked for, or the last that the model was made for."""
        made_for = (record.target for record in reversed(model.history) if record.target)
        return self.hw_arch or next(made_for, DEFAULT_TARGET)


@dataclass(frozen=True)
class Answer:
    """How the result is given."""

    json: Json = False
    quiet: Quiet = False
    no_plugin: NoPlugin = None

    @property
    def silent(self) -> bool:
        """Whether nothing but JSON and errors is to be seen."""
        return self.json or self.quiet
