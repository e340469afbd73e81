"""Reading networks, archives and data for the commands, and finding out where to write."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewbits.cli.flags import Levels, ParseFlags, Run
from fewbits.cli.reading import parse_shapes, read_preprocess, split_names
from fewbits.errors import DataError, UsageError

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.data import Dataset
    from fewbits.model import Model
    from fewbits.preprocess import Preprocess

_ZIP_MAGIC = b"PK\x03\x04"


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
    """Open calibration samples for the model's inputs; None where no path was given.

    Raises:
        UsageError: a count was given without a path.
        DataError: they cannot be read, do not fit, or are fewer than `count`.
    """
    if path is None:
        if count is not None:
            raise UsageError(
                "--calib-count says how many samples to take, and no --calib-path says whence.",
                hint="Add --calib-path, or leave --calib-count out.",
            )
        return None
    from fewbits import api

    return api.open_data(path, model, session.registry, count)


def ensure_quantized(
    session: "Session", model: "Model", levels: Levels, run: Run, batch_size: int = 4
) -> "Model":
    """Return the model, quantized by what the levels stand for if it was not yet.

    Raises:
        FewbitsError: it was not, and there is no calibration data, a level's need is not met, or
            a step fails.
    """
    from fewbits import api
    from fewbits.cli.leveling import announce, prepare
    from fewbits.model import Stage

    if model.stage.rank >= Stage.QUANTIZED.rank:
        return model
    prepared = prepare(session, model, None, levels, run)
    if not session.quiet:
        announce(prepared, stderr=True)
    with session.progress():
        return api.optimize(
            model,
            calibration=prepared.calibration,
            recipe=prepared.recipe,
            **settings(session, run, batch_size),
        )


def settings(session: "Session", run: Run, batch_size: int) -> dict[str, Any]:
    """Return the keywords of `api.optimize` that say how to run."""
    return {
        "target": run.hw_arch,
        "seed": run.seed,
        "threads": run.threads,
        "batch_size": batch_size,
        "registry": session.registry,
    }


def output_path(output: Path | None, source: Path, model_name: str) -> Path:
    """Return where an archive goes: `output`, the archive it came from, or NAME.fewbits here."""
    if output is not None:
        return output
    return source if is_archive(source) else Path(f"{model_name}.fewbits")


def check_output(path: Path, source: Path, *, archive: bool = True) -> None:
    """Find out before a long run whether its result can be written.

    Args:
        path: what is to be written.
        source: the network or archive that is read.
        archive: whether an archive is written, which may take the place of the one that is read.

    Raises:
        DataError: the folder is missing or may not be written, or `path` is a folder.
        UsageError: `path` is the network that is read, or an archive that would be lost.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise DataError(f"{path} is a folder.", hint="Give the path of a file.")
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", hint="Create it, or choose another path.")
    if not os.access(folder, os.W_OK):
        raise DataError(f"The folder {folder} may not be written.", hint="Choose another with -o.")
    if not (path.exists() and source.exists() and path.samefile(source)):
        return
    if not is_archive(source):
        raise UsageError(f"{path} is the network itself.", hint="Choose another path with -o.")
    if not archive:
        raise UsageError(f"{path} is the archive itself.", hint="Choose another path with -o.")


def update_archive(session: "Session", file: Path, model: "Model") -> Path | None:
    """Write the stages that a command added into the archive it read.

    Returns:
        The archive; None where a network's file was read, or where the archive may not be
        written, of which the user is warned.
    """
    if not is_archive(file):
        return None
    if not os.access(file, os.W_OK) or not os.access(file.absolute().parent, os.W_OK):
        session.warn(f"{file} may not be written; it does not get the new stages")
        return None
    from fewbits import api

    return api.save(model, file)
