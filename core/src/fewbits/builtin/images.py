"""The `images` reader: a folder of pictures, with a class for each or none."""

from pathlib import Path

from pydantic import Field

from fewbits.builtin.folders import list_pictures
from fewbits.data import Request
from fewbits.interfaces import DatasetReader
from fewbits.options import Options
from fewbits.picturedata import PictureDataset, fitting


class ImageOptions(Options):
    """Options of the `images` reader."""

    workers: int = Field(default=0, ge=0, le=256, description="Decoding threads; 0 for one a core.")


class ImageReader(DatasetReader):
    """Opens a folder of pictures.

    The folder holds a `labels.csv` (a column `file`, and `index` or `label`; the order of its
    rows is the order of the data), or one folder a class (sorted names are the class indices),
    or just pictures (sorted by name, no labels).
    """

    name = "images"
    general = True
    Options = ImageOptions

    def accepts(self, path: str) -> bool:
        """Claim folders."""
        return Path(path).is_dir()

    def open(self, request: Request) -> PictureDataset:
        """List the folder; pictures are read when batches are asked for.

        Raises:
            DataError: no pictures, fewer than asked, no preprocessing, labels.csv wrong, or the
                preprocessing gives a size that the network does not take.
        """
        fitting(request)
        folder, workers = Path(request.path), self.options.workers
        listing = list_pictures(folder)
        return PictureDataset(
            request, self.name, folder, listing.files, labels=listing.labels, workers=workers
        )
