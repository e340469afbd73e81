"""The reader `yolo`: pictures with a text file each, a box a line, as YOLO's tools write."""

import math
from pathlib import Path
from typing import Literal

from fewbits.data import Request
from fewbits.errors import DataError
from fewbits.interfaces import DatasetReader
from fewbits.options import Options
from fewbits.picturedata import PictureDataset, fitting
from fewbits.recipe import Step
from pydantic import Field

from fewbits_vision.annotated import (
    SUFFIXES,
    Annotated,
    LabelledPictures,
    checked,
    gather,
    mirrored,
    of_lists,
    picture_size,
    pictures_in,
)

FORM = "class, centre x, centre y, width, height"


class YoloOptions(Options):
    """Options of the `yolo` reader."""

    classes: int = Field(
        default=0, ge=0, description="How many classes there are; 0: any class is taken."
    )
    missing: Literal["error", "empty"] = Field(
        default="error",
        description="What a picture without a text file is: an error, or one without objects.",
    )
    workers: int = Field(default=0, ge=0, le=256, description="Decoding threads; 0 for one a core.")


class YoloReader(DatasetReader):
    """Opens pictures with YOLO's text files: each line a class and a box relative to the picture.

    The path is a folder with `images/` and `labels/` in it, or a folder in an `images/` that has
    a `labels/` beside it with the same folders in it, or a folder with pictures and text files
    side by side. A picture without objects has an empty text file. Pictures come in the order of
    their paths.
    """

    name = "yolo"
    skips_bad = True
    Options = YoloOptions

    def accepts(self, path: str) -> bool:
        """Claim folders of pictures whose text files are found."""
        return find(Path(path)) is not None

    def open(self, request: Request) -> PictureDataset:
        """Read every text file and every picture's size; pictures are decoded later.

        Raises:
            DataError: a picture or its text file is bad, by file and line; there are no pictures,
                fewer than asked; or they do not fit the network.
        """
        options: YoloOptions = self.options
        fitting(request)
        found = find(Path(request.path))
        if found is None:
            raise DataError(
                f"{request.path} is no folder of pictures with YOLO's text files.",
                hint="Give a folder with images/ and labels/, or with both side by side.",
            )
        images, labels = found
        said = str(Step(self.name, options.model_dump(exclude_defaults=True)))
        if not (request.labelled or request.skip_bad):
            names = [path.relative_to(images).as_posix() for path in pictures_in(images)]
            return PictureDataset(request, said, images, names, workers=options.workers)
        gathered = gather(
            pictures_in(images),
            lambda path: read(path, images, labels, options),
            images,
            skip_bad=request.skip_bad,
        )
        return LabelledPictures(request, said, images, gathered, options.workers)


def find(path: Path) -> tuple[Path, Path] | None:
    """Return the folders of pictures and of text files, or None if `path` is not of the kind."""
    if not path.is_dir() or (path / "labels.csv").is_file():
        return None
    found = mirrored(path, "labels", ".txt")
    if found is not None:
        return found
    texts = {each.stem for each in path.glob("*.txt")}
    beside = texts and any(p.stem in texts for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    return (path, path) if beside else None


def read(path: Path, images: Path, labels: Path, options: YoloOptions) -> Annotated:
    """Read one picture's size and its text file.

    Args:
        path: the picture.
        images: the folder that its name is relative to.
        labels: the folder that holds the text file under the same name.
        options: what is taken for an error.

    Raises:
        DataError: either is missing or cannot be read, or a line is wrong.
    """
    size = picture_size(path)
    name = path.relative_to(images)
    text = (labels / name).with_suffix(".txt")
    lines = [(n, line) for n, line in enumerate(_lines(text, path, options), 1) if line.strip()]
    rows = [_row(line, f"{text} line {n}", options.classes) for n, line in lines]
    height, width = size
    corners = [
        checked(
            [
                (cx - w / 2) * width,
                (cy - h / 2) * height,
                (cx + w / 2) * width,
                (cy + h / 2) * height,
            ],
            size,
            f"{text} line {n}",
        )
        for (n, _), (_, cx, cy, w, h) in zip(lines, rows, strict=True)
    ]
    kinds = [int(row[0]) for row in rows]
    return of_lists(name.as_posix(), size, corners, kinds, [False] * len(rows))


def _lines(text: Path, picture: Path, options: YoloOptions) -> list[str]:
    if options.missing == "empty" and not text.exists():
        return []
    try:
        return text.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(
            f"{picture} has no label file: there is no {text}.",
            hint="Add it, or take such pictures for ones without objects, --data-reader"
            " yolo:missing=empty, or leave them out, --skip-bad.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{text} cannot be read: {error}.", hint="Save it as UTF-8.") from error


def _row(line: str, where: str, classes: int) -> tuple[float, float, float, float, float]:
    fields = line.split()
    if len(fields) != 5:
        raise DataError(
            f"{where} has {len(fields)} fields, and a box has five: {FORM}.",
            hint="Outlines and other forms are not read; write boxes.",
        )
    try:
        kind, cx, cy, w, h = map(float, fields)
    except ValueError:
        raise DataError(
            f"{where} is not five numbers: '{line.strip()}'.", hint=f"Write {FORM}."
        ) from None
    if not math.isfinite(kind) or kind < 0 or kind != int(kind) or (classes and kind >= classes):
        bounds = f", 0 to {classes - 1}" if classes else ""
        raise DataError(
            f"{where} has the class {fields[0]}, which is none{bounds}.",
            hint="Classes are whole numbers from 0.",
        )
    return kind, cx, cy, w, h
