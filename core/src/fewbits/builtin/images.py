"""The `images` reader: a folder of pictures, with a class for each or none."""

from pathlib import Path

from pydantic import Field

from fewbits.builtin.folders import list_pictures
from fewbits.data import Request
from fewbits.interfaces import DatasetReader
from fewbits.options import Options
from fewbits.picturedata import PictureDataset, all_bad, faults_of, fitting


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
    skips_bad = True
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
        faults = [""] * len(listing.files)
        if request.skip_bad:
            faults = faults_of([folder / file for file in listing.files], workers)
        good = [row for row, fault in enumerate(faults) if not fault]
        if faults and not good:
            raise all_bad(faults)
        return PictureDataset(
            request,
            self.name,
            folder,
            [listing.files[row] for row in good],
            labels=None if listing.labels is None else listing.labels[good],
            workers=workers,
            skipped=list(filter(None, faults)),
        )
