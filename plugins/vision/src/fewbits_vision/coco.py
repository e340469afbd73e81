"""The reader `coco`: a json file of COCO's form, with the pictures that it names."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fewbits.data import Request
from fewbits.errors import DataError
from fewbits.interfaces import DatasetReader
from fewbits.options import Options
from fewbits.picturedata import PictureDataset, fitting
from fewbits.recipe import Step
from pydantic import Field

from fewbits_vision.annotated import (
    Annotated,
    LabelledPictures,
    checked,
    gather,
    of_lists,
    picture_size,
)


class CocoOptions(Options):
    """Options of the `coco` reader."""

    images: str = Field(
        default="",
        description="The folder of the pictures; default: where COCO has them, such as val2017/"
        " or images/val2017/ beside annotations/instances_val2017.json.",
    )
    categories: Literal["order", "ids"] = Field(
        default="order",
        description="What a label is: the category's place among the rising ids, from 0 (80"
        " classes for COCO), or its id (up to 90).",
    )
    workers: int = Field(default=0, ge=0, le=256, description="Decoding threads; 0 for one a core.")


class CocoReader(DatasetReader):
    """Opens a json file with `images`, `annotations` (`bbox` x, y, width, height), `categories`.

    Pictures come in the file's order; a picture without annotations has no objects.
    """

    name = "coco"
    skips_bad = True
    Options = CocoOptions

    def accepts(self, path: str) -> bool:
        """Claim json files."""
        return path.endswith(".json") and Path(path).is_file()

    def open(self, request: Request) -> PictureDataset:
        """Read the file and every picture's size; pictures are decoded later.

        Raises:
            DataError: the file, an annotation or a picture is bad; there are no pictures, fewer
                than asked; or they do not fit the network.
        """
        options: CocoOptions = self.options
        fitting(request)
        file = Path(request.path)
        held = _loaded(file)
        folder = Path(options.images) if options.images else _folder(file, held["images"])
        said = str(Step(self.name, options.model_dump(exclude_defaults=True)))
        if not (request.labelled or request.skip_bad):
            names = [each["file_name"] for each in held["images"]]
            return PictureDataset(request, said, folder, names, workers=options.workers)
        by_id = options.categories == "ids"
        ids = sorted(each["id"] for each in held["categories"])
        labels = {each: each if by_id else place for place, each in enumerate(ids)}
        boxes = _by_picture(file, held)
        gathered = gather(
            held["images"],
            lambda picture: read(file, folder, picture, boxes.get(picture["id"], []), labels),
            folder,
            skip_bad=request.skip_bad,
        )
        return LabelledPictures(request, said, folder, gathered, options.workers)


def _loaded(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the three lists of the file, as far as every later step relies on them."""
    try:
        held = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"There is no file {file}.", hint="Check the path.") from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read as json: {error}.", hint="Give a file of COCO's form."
        ) from error
    wanted = {"images": ("id", "file_name"), "annotations": ("image_id",), "categories": ("id",)}
    for name, keys in wanted.items():
        rows = held.get(name) if isinstance(held, dict) else None
        if not isinstance(rows, list):
            raise DataError(
                f"{file} has no list '{name}'.",
                hint="A file of COCO's form has images, annotations and categories.",
            )
        for place, row in enumerate(rows):
            lacking = [key for key in keys if not isinstance(row, dict) or key not in row]
            if lacking:
                raise DataError(
                    f"{file}: {name}[{place}] has no '{lacking[0]}'.", hint="Complete the file."
                )
    return {name: held[name] for name in wanted}


def _folder(file: Path, pictures: list[dict[str, Any]]) -> Path:
    """Return the first of the usual folders that holds the first picture."""
    split = file.stem.removeprefix("instances_")
    above = file.parent.parent
    usual = [above / split, above / "images" / split, above / "images", file.parent]
    usual += [file.parent / split, file.parent / "images"]
    first = pictures[0]["file_name"] if pictures else ""
    for folder in usual:
        if first and (folder / first).is_file():
            return folder
    raise DataError(
        f"The pictures of {file} were not found: '{first}' is in none of"
        f" {', '.join(map(str, usual))}.",
        hint="Name their folder: --data-reader coco:images=FOLDER.",
    )


def _by_picture(file: Path, held: Mapping[str, list[dict[str, Any]]]) -> dict[Any, list[Any]]:
    known = {each["id"] for each in held["images"]}
    found = defaultdict(list)
    for each in held["annotations"]:
        if each["image_id"] not in known:
            raise DataError(
                f"{_of(file, each)} is of image {each['image_id']}, which the file does not list.",
                hint="Take it out, or add the image.",
            )
        found[each["image_id"]].append(each)
    return dict(found)


def read(
    file: Path,
    folder: Path,
    picture: Mapping[str, Any],
    annotations: list[dict[str, Any]],
    labels: Mapping[int, int],
) -> Annotated:
    """Return one picture with its boxes.

    Args:
        file: the json file, for messages.
        folder: where the picture is.
        picture: its entry.
        annotations: those of the picture.
        labels: category id → label.

    Raises:
        DataError: the picture is missing, no picture or of another size than the file says; or a
            category or box is wrong.
    """
    path = folder / picture["file_name"]
    size = picture_size(path)
    said = (picture.get("height", size[0]), picture.get("width", size[1]))
    if said != size:
        raise DataError(
            f"{path} is {size[0]}x{size[1]} (height x width), and {file} says"
            f" {said[0]}x{said[1]}: its boxes are of another picture.",
            hint="Give the pictures that the file was made for.",
        )
    corners, classes, crowd = [], [], []
    for each in annotations:
        where = _of(file, each)
        kind = each.get("category_id")
        if not isinstance(kind, int) or kind not in labels:
            raise DataError(
                f"{where} has the category {kind}, which the file does not list.",
                hint="Add it to the categories, or take the annotation out.",
            )
        corners.append(checked(_corners(each.get("bbox"), where), size, where))
        classes.append(labels[kind])
        crowd.append(bool(each.get("iscrowd", 0)))
    return of_lists(picture["file_name"], size, corners, classes, crowd)


def _corners(box: Any, where: str) -> list[float]:
    is_box = isinstance(box, list) and len(box) == 4
    if not is_box or not all(isinstance(value, int | float) for value in box):
        raise DataError(
            f"{where} has the bbox {box}, which is not four numbers.",
            hint="Write x, y, width, height in pixels.",
        )
    left, top, width, height = map(float, box)
    return [left, top, left + width, top + height]


def _of(file: Path, annotation: Mapping[str, Any]) -> str:
    return f"{file}: annotation {annotation.get('id', '?')}"
