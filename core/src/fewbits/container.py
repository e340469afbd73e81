"""The archive's outer shell: a zip of stored parts, a manifest, and the checks on reading them.

Nothing is compressed: arrays hardly shrink, writing is fast, the bytes do not depend on a zlib,
and a part can be no larger than the file that holds it. Nothing here knows what a part means.
"""

import hashlib
import json
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from fewbits.atomic import atomic_file
from fewbits.errors import ArchiveError

FORMAT = 1
MANIFEST = "manifest.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
DAMAGED = "The file is damaged or was changed: make it again, or fetch a fresh copy."


def sha256(data: bytes) -> str:
    """Return the digest of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def to_json(value: Any) -> bytes:
    """Write JSON that is pleasant to read; keys stay in their order."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return text.encode() + b"\n"


def write_container(
    path: Path, manifest: Mapping[str, Any], parts: Mapping[str, bytes], digests: Mapping[str, str]
) -> None:
    """Write `parts` and a manifest that lists them with digests; atomic, same input, same bytes.

    Args:
        path: the file to write or replace.
        manifest: what else the manifest says, JSON-able.
        parts: path inside the archive → content.
        digests: path inside the archive → digest of the content.

    Raises:
        FewbitsError: the file cannot be written; an earlier one stays as it was.
    """
    listed = {name: {"bytes": len(d), "sha256": digests[name]} for name, d in parts.items()}
    head = {"format": FORMAT, **manifest, "parts": listed}
    with atomic_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in {MANIFEST: to_json(head), **parts}.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)


class Container:
    """An open archive whose outline has been checked: names, kinds and sizes of its members.

    Args:
        archive: the open zip.
        path: the file, for messages.
        members: its members by name.
    """

    def __init__(
        self, archive: zipfile.ZipFile, path: Path, members: Mapping[str, zipfile.ZipInfo]
    ) -> None:
        self._archive = archive
        self._path = path
        self._members = members
        self.manifest = self._read_manifest()

    def _read_manifest(self) -> dict[str, Any]:
        manifest = json.loads(self._archive.read(self._members[MANIFEST]))
        if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
            raise ArchiveError(f"{self._path} has no format version.", hint=DAMAGED)
        if manifest["format"] > FORMAT:
            raise ArchiveError(
                f"{self._path} has format {manifest['format']}; this fewbits reads up to {FORMAT}.",
                hint=f"fewbits {manifest.get('fewbits')} wrote it: upgrade to that or later.",
            )
        if set(manifest["parts"]) != set(self._members) - {MANIFEST}:
            odd = sorted(set(manifest["parts"]) ^ (set(self._members) - {MANIFEST}))
            raise ArchiveError(
                f"{self._path}: the manifest and the parts differ on '{odd[0]}'.", hint=DAMAGED
            )
        return manifest

    def read(self, name: str) -> bytes:
        """Return a part, its size and digest checked.

        Raises:
            ArchiveError: the part is not what the manifest says.
        """
        listed = self.manifest["parts"][name]
        data = self._archive.read(self._members[name])
        if len(data) != listed["bytes"] or sha256(data) != listed["sha256"]:
            raise ArchiveError(f"{self._path}: '{name}' has a wrong digest.", hint=DAMAGED)
        return data


@contextmanager
def open_container(path: Path) -> Iterator[Container]:
    """Open an archive for reading; whatever goes wrong while it is open is an ArchiveError.

    Raises:
        ArchiveError: not an archive, truncated, too new, damaged, or unsafe to read.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            yield Container(archive, path, _checked(archive, path))
    except ArchiveError as error:
        if str(path) in error.message:
            raise
        raise ArchiveError(f"{path}: {error.message}", hint=error.hint) from error
    except OSError as error:
        if error.strerror:
            raise ArchiveError(
                f"{path} cannot be read: {error.strerror}.", hint="Check the path."
            ) from error
        raise _unreadable(path, error) from error
    except MemoryError:
        raise
    # The bytes may come from anyone: any error of any parser on them says that they are bad.
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ArchiveError:
    if isinstance(error, zipfile.BadZipFile):
        reason = f"is truncated, damaged or no fewbits archive ({error})"
    else:
        reason = f"holds what cannot be read ({type(error).__name__}: {error})"
    return ArchiveError(f"{path} {reason}.", hint=DAMAGED)


def _checked(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        fault = _fault(info) or ("appears twice" if info.filename in members else "")
        if fault:
            raise ArchiveError(
                f"{path}: '{info.filename}' {fault}.",
                hint="Do not trust this file: fewbits writes no such archive.",
            )
        members[info.filename] = info
    if sum(info.file_size for info in members.values()) > path.stat().st_size:
        raise ArchiveError(f"{path} claims more bytes than it has.", hint=DAMAGED)
    if MANIFEST not in members:
        raise ArchiveError(
            f"{path} has no {MANIFEST}.", hint="Give an archive that fewbits wrote (NAME.fewbits)."
        )
    return members


def _fault(info: zipfile.ZipInfo) -> str:
    """Return what makes a member unsafe, or nothing."""
    name = info.filename
    parts = PurePosixPath(name).parts
    if info.orig_filename != name or "\\" in name or ":" in name or "\0" in name:
        return "is a name that not every system can hold"
    if name.startswith("/") or ".." in parts or str(PurePosixPath(name)) != name:
        return "is a path that climbs out of the archive"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG) or info.is_dir():
        return "is a link or no plain file"
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        return "is compressed, which fewbits never does"
    return "is encrypted" if info.flag_bits & 1 else ""
