"""npy and npz files: their arrays by name, mapped into memory where the file allows it."""

import shutil
import struct
import tempfile
import weakref
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from fewbits.errors import DataError, nearest
from fewbits.mapped import Samples, map_npy

PICTURE_KEYS = ("images", "x", "data", "input", "arr_0")

#: A compressed array up to this size is held in memory, a larger one in a temporary file.
HELD_BYTES = 64 << 20


@dataclass(frozen=True)
class ArrayFile:
    """One npy or npz file.

    Args:
        path: the file.
        key: the array asked for with `FILE.npz#key`, or None.
    """

    path: Path
    key: str | None

    @classmethod
    def parse(cls, text: str) -> "ArrayFile":
        """Split `FILE.npz#key`; a `#` that belongs to the file's name stays there."""
        base, mark, key = text.rpartition("#")
        if mark and base.lower().endswith((".npz", ".npy")) and not Path(text).exists():
            return cls(Path(base), key)
        return cls(Path(text), None)

    @property
    def is_npz(self) -> bool:
        """Whether the name says that several arrays are inside."""
        return self.path.suffix.lower() == ".npz"

    def where(self, key: str) -> str:
        """Return file and key as a message names them."""
        return f"{self.path}#{key}" if self.is_npz else str(self.path)

    def keys(self) -> tuple[str, ...]:
        """Return the names of the arrays; an npy has one, the empty name.

        Raises:
            DataError: the file is missing or no npz.
        """
        if not self.path.is_file():
            raise DataError(f"There is no file {self.path}.", hint="Check the path.")
        if not self.is_npz:
            return ("",)
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = archive.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise self._damaged(str(self.path), error) from error
        return tuple(name.removesuffix(".npy") for name in names if name.endswith(".npy"))

    def load(self, key: str) -> Samples:
        """Return an array: mapped where the file holds its bytes as they are, read otherwise.

        Raises:
            DataError: the key is missing, the file is damaged, or it holds Python objects.
        """
        if key not in self.keys():
            raise DataError(f"{self.path} has no array '{key}'.", hint=nearest(key, self.keys()))
        try:
            if not self.is_npz:
                return map_npy(self.path, 0)
            return _load_member(self.path, f"{key}.npy")
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise self._damaged(self.where(key), error) from error

    def _damaged(self, where: str, error: Exception) -> DataError:
        return DataError(
            f"{where} cannot be read: {error}.",
            hint="Save it again with numpy.save or numpy.savez, with numbers only.",
        )

    def choose(self, inputs: tuple[str, ...]) -> dict[str, str]:
        """Return which array feeds which input, as input name → key.

        One input takes the key asked for, else the array of its name, else the first of
        `PICTURE_KEYS`, else the only array that holds no labels; several inputs take the arrays
        of their names.

        Raises:
            DataError: no array fits; the hint lists those there are.
        """
        keys = self.keys()
        if len(inputs) > 1:
            return self._by_name(inputs, keys)
        if not self.is_npz and self.key is not None:
            raise DataError(
                f"{self.path} holds one array without a name, and '#{self.key}' asks for one.",
                hint=f"Write {self.path}.",
            )
        if self.key is not None or not self.is_npz:
            return {inputs[0]: self.key or ""}
        plain = [key for key in keys if not _is_label(key)]
        known = [key for key in (inputs[0], *PICTURE_KEYS) if key in keys]
        if known or len(plain) == 1:
            return {inputs[0]: (known or plain)[0]}
        raise DataError(
            f"Which array of {self.path} feeds the input '{inputs[0]}' is not clear.",
            hint=f"Write {self.path}#KEY with one of: {', '.join(keys) or 'none there'}.",
        )

    def _by_name(self, inputs: tuple[str, ...], keys: tuple[str, ...]) -> dict[str, str]:
        missing = [name for name in inputs if name not in keys]
        if missing or self.key is not None:
            held = ", ".join(key for key in keys if key) or "one array without a name"
            raise DataError(
                f"The network has {len(inputs)} inputs, {', '.join(inputs)}, and {self.path}"
                f" holds {held}.",
                hint="Give an npz file with one array for each input, under the inputs' names.",
            )
        return {name: name for name in inputs}

    def labels_key(self, key: str) -> str | None:
        """Return the key of the labels that belong to `key`, or None.

        >>> ArrayFile(Path("a.npz"), None)._label_names("calib_images")
        ('calib_labels', 'calib_images_labels', 'labels', 'y')
        """
        if not self.is_npz:
            return None
        keys = self.keys()
        return next((name for name in self._label_names(key) if name in keys), None)

    def _label_names(self, key: str) -> tuple[str, ...]:
        twin = key.replace("images", "labels") if "images" in key else ""
        if key == "x" or key.startswith("x_"):
            twin = "y" + key[1:]
        names = (twin, f"{key}_labels", "labels", "y")
        return tuple(dict.fromkeys(name for name in names if name))


def _is_label(key: str) -> bool:
    return key == "y" or key.startswith("y_") or key.endswith(("labels", "names"))


def _load_member(path: Path, member: str) -> Samples:
    """Map an uncompressed member in place, a large compressed one in a temporary file."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
        if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
            return map_npy(path, _data_offset(path, info))
        with archive.open(info) as stream:
            if info.file_size <= HELD_BYTES:
                return np.asarray(npy_format.read_array(stream, allow_pickle=False))
            return _spilled(stream)


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where a member's bytes begin: its local header has lengths of its own."""
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        name_length, extra_length = struct.unpack("<26xHH", stream.read(30))
    return info.header_offset + 30 + int(name_length) + int(extra_length)


def _spilled(stream: IO[bytes]) -> Samples:
    """Map a copy on disk that goes away with the array."""
    copy = tempfile.TemporaryFile(prefix="fewbits-")  # noqa: SIM115 - the array outlives this
    try:
        shutil.copyfileobj(stream, copy, 1 << 20)
        copy.flush()
        array = map_npy(copy, 0)
    except BaseException:
        copy.close()
        raise
    weakref.finalize(array, copy.close)
    return array
