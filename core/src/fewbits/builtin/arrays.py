"""The `arrays` reader: npy and npz files as a stream of network inputs."""

import numpy as np
from numpy.typing import NDArray

from fewbits.builtin.arrayfile import ArrayFile
from fewbits.data import Request, first_rows
from fewbits.feed import FeedDataset, checked_labels, common_length, feed
from fewbits.interfaces import DatasetReader


class ArrayReader(DatasetReader):
    """Opens `FILE.npy`, `FILE.npz` or `FILE.npz#key`.

    Values of the network's type go in as they are, in the network's layout; uint8 arrays are
    pictures `(samples, height, width[, channels])` and go through the preprocessing.
    """

    name = "arrays"

    def accepts(self, path: str) -> bool:
        """Claim names that end in npy or npz."""
        return ArrayFile.parse(path).path.suffix.lower() in (".npy", ".npz")

    def open(self, request: Request) -> "FeedDataset":
        """Map the file, choose its arrays, check types, shapes, lengths and labels.

        Raises:
            DataError: anything of that does not fit; the message names file and key.
        """
        file = ArrayFile.parse(request.path)
        chosen = file.choose(tuple(spec.name for spec in request.inputs))
        feeds = {
            spec.name: feed(
                spec, file.load(key := chosen[spec.name]), file.where(key), request.preprocess
            )
            for spec in request.inputs
        }
        length = common_length(feeds)
        rows = first_rows(length, request.count, request.path)
        labels = _labels(file, next(iter(chosen.values())), length)
        return FeedDataset(request, feeds, rows, None if labels is None else labels[rows])


def _labels(file: ArrayFile, key: str, length: int) -> NDArray[np.int64] | None:
    name = file.labels_key(key)
    if name is None:
        return None
    return checked_labels(file.load(name)[...], length, file.where(name), file.where(key))
