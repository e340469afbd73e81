"""The reader `masks`: pictures, each with a picture whose values are the pixels' classes."""

from dataclasses import dataclass
from pathlib import Path

from fewbits.data import Request
from fewbits.errors import DataError
from fewbits.framing import frame
from fewbits.interfaces import DatasetReader
from fewbits.labels import Regions
from fewbits.options import Options
from fewbits.picturedata import PictureDataset, fitting
from fewbits.pictures import values
from fewbits.preprocess import Preprocess
from fewbits.recipe import Step
from pydantic import Field

from fewbits_vision.annotated import LabelledPictures, gather, mirrored, picture_size, pictures_in


class MaskOptions(Options):
    """Options of the `masks` reader."""

    workers: int = Field(default=0, ge=0, le=256, description="Decoding threads; 0 for one a core.")


@dataclass(frozen=True)
class Masked:
    """One picture and the file of its pixels' classes.

    Args:
        file: the picture, relative to the data's folder, with forward slashes.
        size: its height and width.
        mask: the file of classes, of the same size.
    """

    file: str
    size: tuple[int, int]
    mask: Path

    def label(self, preprocess: Preprocess) -> Regions:
        """Return the classes, with where the picture lies in what `preprocess` makes of it."""
        return Regions(self.mask, frame(preprocess, self.size))


class MaskReader(DatasetReader):
    """Opens pictures in `images/` with grey or palette PNGs of the same names in `masks/`.

    The path is a folder with both in it, or a folder in an `images/` that has a `masks/` beside it
    with the same folders in it. A mask has its picture's size; its values are the classes.
    """

    name = "masks"
    skips_bad = True
    Options = MaskOptions

    def accepts(self, path: str) -> bool:
        """Claim folders of pictures whose masks are found."""
        return Path(path).is_dir() and mirrored(Path(path), "masks", ".png") is not None

    def open(self, request: Request) -> PictureDataset:
        """Read the sizes of pictures and masks; they are decoded later.

        Raises:
            DataError: a picture or mask is missing, unreadable or of another size; there are fewer
                than asked; or they do not fit the network.
        """
        options: MaskOptions = self.options
        fitting(request)
        found = mirrored(Path(request.path), "masks", ".png")
        if found is None:
            raise DataError(
                f"{request.path} is no folder of pictures with masks.",
                hint="Give a folder with images/ and masks/, a PNG for each picture in the latter.",
            )
        images, masks = found
        said = str(Step(self.name, options.model_dump(exclude_defaults=True)))
        paths = pictures_in(images)
        if not (request.labelled or request.skip_bad):
            names = [path.relative_to(images).as_posix() for path in paths]
            return PictureDataset(request, said, images, names, workers=options.workers)
        gathered = gather(
            paths,
            lambda path: read(path, images, masks, whole=request.skip_bad),
            images,
            skip_bad=request.skip_bad,
        )
        return LabelledPictures(request, said, images, gathered, options.workers)


def read(path: Path, images: Path, masks: Path, *, whole: bool = False) -> Masked:
    """Compare one picture's size with its mask's.

    Args:
        path: the picture.
        images: the folder that its name is relative to.
        masks: the folder that holds the mask under the same name.
        whole: decode the mask, too.

    Raises:
        DataError: either is missing or unreadable, or they differ in size.
    """
    size = picture_size(path)
    name = path.relative_to(images)
    mask = (masks / name).with_suffix(".png")
    if not mask.is_file():
        raise DataError(
            f"{path} has no mask: there is no {mask}.",
            hint="Add it, or leave such pictures out with --skip-bad.",
        )
    own = picture_size(mask)
    if own != size:
        raise DataError(
            f"{mask} is {own[0]}x{own[1]} (height x width), and its picture {size[0]}x{size[1]}.",
            hint="Give the mask that was made for the picture.",
        )
    if whole:
        values(mask)
    return Masked(name.as_posix(), size, mask)
