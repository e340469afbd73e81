"""Writing a file or a folder whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fewbits.errors import FewbitsError
from fewbits.processes import leads

_HINTS = {
    errno.ENOSPC: "The disk is full: make room, or write to another disk.",
    errno.EDQUOT: "The disk quota is used up: make room, or write to another disk.",
    errno.EFBIG: "The file is larger than this disk or this user's limit allows.",
    errno.EACCES: "You may not write there: choose another path.",
    errno.EPERM: "You may not write there: choose another path.",
    errno.EROFS: "The disk is read-only: choose another path.",
    errno.ENOENT: "Create the folder first, or choose another path.",
    errno.ENOTDIR: "A part of the path is a file: choose another path.",
    errno.EISDIR: "That is a folder: give the path of a file.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write into that takes the place of `path` when the block ends well.

    The bytes go to a temporary file beside `path`, reach the disk, and are renamed; a block that
    raises leaves `path` as it was and nothing beside it. Of processes that share a run only the
    first writes; in the others the bytes go nowhere.

    Raises:
        FewbitsError: the system cannot write there; the hint says what to do.
    """
    with _told(path), _temporary(path) if leads() else tempfile.TemporaryFile() as file:
        yield file


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to write into that becomes `path` when the block ends well.

    A block that raises leaves `path` as it was and nothing beside it. Of processes that share a run
    only the first writes; in the others the files go nowhere.

    Args:
        path: absent, or an empty folder.

    Raises:
        FewbitsError: it holds something, or the system cannot write there.
    """
    with _told(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            what = "holds files already" if path.is_dir() else "is a file"
            raise FewbitsError(f"{path} {what}.", hint="Choose a folder that is empty or absent.")
        made = Path(tempfile.mkdtemp(prefix=".fewbits-", suffix=".part", dir=path.parent))
        try:
            yield made
            if leads():
                os.chmod(made, 0o777 & ~_umask())
                with suppress(FileNotFoundError):
                    path.rmdir()
                os.rename(made, path)
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise FewbitsError(
            f"{path} cannot be written: {reason}.",
            hint=_HINTS.get(error.errno or 0, "Nothing was written; choose another path."),
        ) from error


@contextmanager
def _temporary(path: Path) -> Iterator[BinaryIO]:
    path = path.resolve()  # a link stays a link; the file behind it is replaced
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is a device or a pipe")
    descriptor, name = tempfile.mkstemp(prefix=".fewbits-", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode(path))
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _sync_folder(path.parent)


def _mode(path: Path) -> int:
    """Return the mode of the file that is replaced, or what a new file would get."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o666 & ~_umask()


def _umask() -> int:
    """Return the umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last; not every file system offers that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all.

    Raises:
        FewbitsError: the system cannot write there; the hint says what to do.
    """
    with atomic_file(path) as file:
        file.write(data)
