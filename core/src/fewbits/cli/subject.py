"""What a command works on: a file, or a network that a plugin offers by name."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewbits.cli.flags import Given, GivenNetwork, Run
from fewbits.errors import DataError, PluginError, UsageError

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.interfaces import NamedModel

_ZIP_MAGIC = b"PK\x03\x04"
SUFFIX = ".fewbits"


@dataclass(frozen=True)
class Subject:
    """What a command works on.

    Args:
        name: what its files are called, without their endings.
        file: the network or the archive that is read.
        network: the network's own file where `file` is an archive that must have come from it.
        named: the named model, where it is one.
    """

    name: str
    file: Path
    network: Path | None = None
    named: "NamedModel | None" = None

    @property
    def keeps(self) -> Path | None:
        """The archive that gets stages that are made on the way; None for a network's own file."""
        if is_archive(self.file):
            return self.file
        return None if self.named is None else Path(f"{self.name}{SUFFIX}")

    def output(self, asked: Path | None) -> Path:
        """Return where an archive goes: where it was asked for, whence it came, or here."""
        return asked or self.keeps or Path(f"{self.name}{SUFFIX}")

    def completed(self, run: Run) -> Run:
        """Return `run` with the named model's calibration samples where none were given."""
        if run.calib_path is not None or self.named is None:
            return run
        return replace(run, calib_path=self.named.calibration())

    def data(self, path: str | None) -> str:
        """Return where the samples to measure on are: `path`, or the named model's.

        Raises:
            UsageError: nobody says.
        """
        found = path or (None if self.named is None else self.named.evaluation())
        if found is None:
            raise UsageError(
                f"There is nothing to measure {self.name} on.",
                hint="Add --data-path with a folder of pictures or an npy/npz file.",
            )
        return found


def find(session: "Session", given: GivenNetwork, name: str | None = None) -> Subject:
    """Return what a command works on.

    A file that exists wins over a named model. Where later stages are of use (`Given`), those of a
    named model come from `--archive`, or from NAME.fewbits in the current folder if it is there;
    else its network is read.

    Args:
        session: the run of the command line.
        given: what was typed.
        name: the model's name, if the user gave one.

    Raises:
        DataError: there is neither such a file nor such a model; the hint names the nearest.
        UsageError: the options do not go together.
    """
    asked = given.archive if isinstance(given, Given) else None
    if given.file.is_file():
        return _of_file(given, asked, name)
    model = _named(session, given.file)
    own = name or model.name
    beside = Path(f"{own}{SUFFIX}")
    found = beside if isinstance(given, Given) and beside.is_file() else None
    archive = asked or found
    if archive is not None:
        return Subject(own, _existing(archive), given.ckpt, model)
    if given.ckpt is not None:
        return Subject(own, _existing(given.ckpt), None, model)
    with session.progress():
        return Subject(own, model.network(session.registry.progress), None, model)


def _of_file(given: GivenNetwork, archive: Path | None, name: str | None) -> Subject:
    if given.ckpt is not None:
        raise UsageError(
            f"--ckpt gives a named model another network, and {given.file} is a file.",
            hint=f"Give {given.ckpt} in its place.",
        )
    if archive is None:
        return Subject(name or given.file.stem, given.file)
    if is_archive(given.file):
        raise UsageError(
            f"{given.file} is an archive itself, and --archive names another.",
            hint="Give one of them, or the network's own file with --archive.",
        )
    return Subject(name or given.file.stem, _existing(archive), given.file)


def _named(session: "Session", path: Path) -> "NamedModel":
    """Return the named model.

    Raises:
        DataError: there is none.
    """
    try:
        found: Any = session.registry.create("model", str(path), {})
    except PluginError as error:
        is_path = path.suffix[1:].isalpha() or len(path.parts) > 1 or path.is_dir()
        reason = "" if is_path else f"; {error.message[:1].lower()}{error.message[1:].rstrip('.')}"
        what = f"{path} is a folder" if path.is_dir() else f"There is no file {path}"
        hint = "Check the path." if is_path else error.hint
        raise DataError(f"{what}{reason}.", hint=hint) from error
    named: NamedModel = found
    return named


def _existing(path: Path) -> Path:
    is_archive(path)
    return path


def is_archive(path: Path) -> bool:
    """Say whether `path` is one of our archives, by its name or its first bytes.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return path.suffix == SUFFIX or file.read(4) == _ZIP_MAGIC
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.", hint="Check the path.") from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", hint="Give a file that you may read."
        ) from error
