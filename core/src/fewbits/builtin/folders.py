"""Which pictures a folder holds, in which order, with which labels."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}
)
FILE_COLUMNS = ("file", "filename", "file_name", "path", "image")
LABEL_COLUMNS = ("index", "label", "class", "target")


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder.

    Args:
        files: paths relative to the folder, with forward slashes, in order.
        labels: int64, one a file, or None.
    """

    files: tuple[str, ...]
    labels: NDArray[np.int64] | None


def list_pictures(folder: Path) -> Listing:
    """List by `labels.csv` if there is one, else by class folders, else the pictures inside.

    Raises:
        DataError: no such folder, no pictures, both loose and sorted into classes, or a wrong
            `labels.csv`.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", hint="Check the path.")
    table = folder / "labels.csv"
    if table.is_file():
        return _from_table(table)
    loose = _pictures(folder, recursive=False)
    classes = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    sorted_in = [(index, f) for index, c in enumerate(classes) for f in _pictures(c)]
    if loose and sorted_in:
        raise DataError(
            f"{folder} holds pictures of its own ({loose[0].name}) and in folders"
            f" ({sorted_in[0][1].relative_to(folder).as_posix()}).",
            hint="Keep either pictures or class folders in it, or add a labels.csv.",
        )
    if sorted_in:
        files = tuple(f.relative_to(folder).as_posix() for _, f in sorted_in)
        return Listing(files, np.array([index for index, _ in sorted_in], np.int64))
    if not loose:
        raise DataError(
            f"{folder} holds no pictures.",
            hint=f"Pictures are files that end in {', '.join(sorted(SUFFIXES))}.",
        )
    return Listing(tuple(f.name for f in loose), None)


def _pictures(folder: Path, *, recursive: bool = True) -> list[Path]:
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        f
        for f in found
        if f.suffix.lower() in SUFFIXES and not f.name.startswith(".") and f.is_file()
    )


def _from_table(table: Path) -> Listing:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table} cannot be read: {error}.", hint="Save it as CSV text in UTF-8."
        ) from error
    file, label = _column(table, header, FILE_COLUMNS), _column(table, header, LABEL_COLUMNS)
    if not rows:
        raise DataError(f"{table} lists no pictures.", hint="Add one row for each picture.")
    files = [_listed(table, number, row[file]) for number, row in enumerate(rows, 2)]
    labels = [_label(table, number, row[label]) for number, row in enumerate(rows, 2)]
    return Listing(tuple(files), np.array(labels, np.int64))


def _column(table: Path, header: list[str], wanted: tuple[str, ...]) -> str:
    names = {name.strip().lower(): name for name in header if name}
    for name in wanted:
        if name in names:
            return names[name]
    raise DataError(
        f"{table} has no column {' or '.join(wanted)}; its first line says: {', '.join(header)}.",
        hint="Its first line must name the columns, such as 'file,label'.",
    )


def _listed(table: Path, line: int, name: str | None) -> str:
    if not name or not (table.parent / name).is_file():
        raise DataError(
            f"{table} line {line} names the picture '{name or ''}', which is not in the folder.",
            hint="Paths in labels.csv are relative to its folder.",
        )
    return name


def _label(table: Path, line: int, text: str | None) -> int:
    try:
        return int((text or "").strip())
    except ValueError:
        raise DataError(
            f"{table} line {line} has the label '{text or ''}', which is no whole number.",
            hint="Labels are class indices: 0 for the network's first class.",
        ) from None
