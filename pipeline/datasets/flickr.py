"""What Flickr8k and Flickr30k share: image ids, image folders, Karpathy's JSON."""

import posixpath
import re

from cli.errors import UserError
from pipeline.datasets import karpathy
from pipeline.datasets.fields import str_of
from pipeline.datasets.karpathy import Entry
from pipeline.datasets.listing import Listing, clean, confined
from pipeline.storage import files

# Flickr's own number of the photograph: 1000268201_693b08cb0e.jpg, 1000092795.jpg
_NUMBER = re.compile(r"([0-9]+)[_.]")


def image_id(name: str, where: str) -> int:
    """Return the number before the first `_` or `.` of a file name.

    Args:
        name: The file name.
        where: The place of the name in the annotation file, for the error message.

    Raises:
        UserError: The name does not start with a number that fits into an int64.
    """
    match = _NUMBER.match(name)
    if not match or int(match[1]) >= 2**63:
        raise UserError(f"{where}: expected `<number>_<hash>.jpg`, found {name[:60]!r}")
    return int(match[1])


def image_folder(data_dir: str, names: tuple[str, ...]) -> str:
    """Return the path of the first folder of `names` that is in `data_dir`.

    Raises:
        UserError: None of them is.
    """
    for name in names:
        folder = posixpath.join(data_dir, name)
        if files.exists(folder):
            return folder
    raise UserError(f"{data_dir}: the image folder is missing: {' or '.join(names)}")


def read_karpathy(path: str, dataset: str, split: str, folder: str) -> Listing:
    """List one split of Karpathy's file at `path`; `karpathy.read` says what it raises.

    Args:
        path: Karpathy's file.
        dataset: The data set's name in that file.
        split: One of train, val, test.
        folder: Where the images lie.
    """

    def locate(entry: Entry, where: str) -> tuple[int, str | None]:
        name = clean(str_of(entry, "filename", where))
        return image_id(name, where), confined(folder, name)

    return karpathy.read(path, dataset, split, locate)
