"""Reading networks, archives and data for the commands, and finding out where to write."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewbits.cli.flags import ParseFlags, Run
from fewbits.cli.reading import parse_shapes, read_preprocess, split_names
from fewbits.cli.stepflags import StepFlags
from fewbits.cli.subject import Subject, is_archive
from fewbits.errors import DataError, UsageError

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.data import Dataset
    from fewbits.model import Model
    from fewbits.preprocess import Preprocess


def open_model(session: "Session", subject: Subject, flags: ParseFlags) -> "Model":
    """Read a network or an archive; preprocessing that is given replaces the archive's.

    Of a named model it is said which file was read.

    Raises:
        UsageError: parse options were given for an archive, it is another network's, or no output
            tells as many classes apart as asked.
        FewbitsError: the file cannot be read; says why.
    """
    model = _opened(session, subject, flags)
    if flags.classes is not None:
        check_classes(model, flags.classes)
    return model


def _opened(session: "Session", subject: Subject, flags: ParseFlags) -> "Model":
    given = read_preprocess(flags.preprocess)
    if is_archive(subject.file):
        model = _load(session, subject, flags)
        model = model if flags.name is None else model.replace(name=flags.name)
        return model if given is None else with_preprocess(model, given)
    named = subject.named
    if given is None and named is not None:
        given = named.preprocess()
    model = _parse(session, subject, flags, given)
    name = flags.name or (None if named is None else named.name)
    return model if name is None else model.replace(name=name)


def check_classes(model: "Model", count: int) -> None:
    """Raise unless an output tells `count` classes apart: its axis 1 is that long.

    Raises:
        UsageError: none does; names what they have.
    """
    shapes = {str(value.name): tuple(value.shape or ()) for value in model.graph.outputs}
    if any(len(shape) > 1 and shape[1] == count for shape in shapes.values()):
        return
    held = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in shapes.items())
    raise UsageError(
        f"No output of {model.name} tells {count} classes apart: {held}.",
        hint="Leave --classes out, or give the network with your own weights (--ckpt).",
    )


def _load(session: "Session", subject: Subject, flags: ParseFlags) -> "Model":
    path = subject.file
    if flags.cuts:
        raise UsageError(
            f"{path} is parsed already; nodes and shapes cannot be chosen any more.",
            hint="Give the network's own file instead, or move the archive away.",
        )
    with session.working(f"reading {path}"):
        from fewbits import api

        model = api.load(path)
    if subject.network is not None:
        _check_origin(model, path, subject.network)
    if subject.named is not None or subject.network is not None:
        _say(session, f"{subject.name}: going on from {path}, which is {model.stage}")
    return model


def _check_origin(model: "Model", archive: Path, network: Path) -> None:
    """Raise unless an archive was made from a network's file.

    Raises:
        UsageError: it was not.
    """
    from fewbits.opening import file_digest

    if not model.history or model.history[0].data.get("digest") != file_digest(network):
        raise UsageError(
            f"{archive} was not made from {network}.",
            hint="Name the archive that was with --archive, or move this one away.",
        )


def _parse(
    session: "Session", subject: Subject, flags: ParseFlags, preprocess: "Preprocess | None"
) -> "Model":
    path, named = subject.file, subject.named
    asked: dict[str, Any] = {
        "start_node_names": split_names(flags.start_node_names),
        "end_node_names": split_names(flags.end_node_names),
        "input_shape": parse_shapes(flags.input_shape),
    }
    said = {key: value for key, value in asked.items() if value}
    if named is not None:
        said = {**named.reading(), **said}
        _say(session, f"{subject.name}: reading {path}")
    with session.working(f"reading {path}"):
        from fewbits import api

        return api.parse(path, preprocess=preprocess, registry=session.registry, **said)


def _say(session: "Session", message: str) -> None:
    if not session.quiet:
        session.note(message)


def with_preprocess(model: "Model", preprocess: "Preprocess") -> "Model":
    """Return the model with this preprocessing at each of its stages.

    Raises:
        UsageError: its inputs have been edited, so that one preprocessing cannot serve all stages.
    """
    edits = [r.use for r in model.history if r.edits == "inputs" and r.report.changed]
    if edits and preprocess != model.preprocess:
        held = "none" if model.preprocess is None else f"'{model.preprocess.to_text()}'"
        raise UsageError(
            f"{model.name} takes other inputs since step '{edits[0]}', prepared by {held}.",
            hint="Leave --preprocess out, or parse the network again with it.",
        )
    if edits:
        return model
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

    return api.open_data(path, model, session.registry, count, labelled=False)


def ensure_quantized(
    session: "Session",
    model: "Model",
    subject: Subject,
    steps: StepFlags,
    run: Run,
    batch_size: int = 4,
) -> "Model":
    """Return the model, quantized by the steps that were asked for if it was not yet.

    Raises:
        UsageError: it was quantized, and steps or levels were asked for.
        FewbitsError: it was not, and there is no calibration data, a level's need is not met, or
            a step fails.
    """
    from fewbits import api
    from fewbits.cli.leveling import announce, prepare

    if is_quantized(model):
        refuse_steps(steps, f"{subject.file} is {model.stage} already")
        return model
    prepared = prepare(session, model, subject, steps, run)
    if not session.quiet:
        announce(prepared, stderr=True)
    with session.progress():
        return api.optimize(
            model,
            calibration=prepared.samples,
            recipe=prepared.recipe,
            **settings(session, model, run, batch_size),
        )


def is_quantized(model: "Model") -> bool:
    """Say whether the quantizer has run."""
    from fewbits.model import Stage

    return model.stage.rank >= Stage.QUANTIZED.rank


def refuse_steps(steps: StepFlags, why: str) -> None:
    """Raise if steps were asked for that will not run.

    Raises:
        UsageError: they were; `why` says why they do not run.
    """
    if steps.given:
        raise UsageError(
            f"{why}, and {', '.join(steps.given)} says how to quantize.",
            hint="Leave it out, or run `fewbits optimize` with it and --restart.",
        )


def settings(session: "Session", model: "Model", run: Run, batch_size: int) -> dict[str, Any]:
    """Return the keywords of `api.optimize` that say how to run on a model."""
    return {
        "target": run.target_for(model),
        "seed": run.seed,
        "threads": run.threads,
        "batch_size": batch_size,
        "registry": session.registry,
    }


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


def update_archive(session: "Session", subject: Subject, model: "Model") -> Path | None:
    """Write the stages that a command added into the archive that keeps them.

    Returns:
        The archive; None where a network's file was read, or where the archive may not be
        written, of which the user is warned.
    """
    path = subject.keeps
    if path is None:
        return None
    writable = os.access(path, os.W_OK) or not path.exists()
    if not writable or not os.access(path.absolute().parent, os.W_OK):
        session.warn(f"{path} may not be written; it does not get the new stages")
        return None
    from fewbits import api

    if not path.exists():
        _say(session, f"Wrote {path}")
    return api.save(model, path)
