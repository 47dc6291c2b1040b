"""What Flickr8k and Flickr30k share: image ids, image folders, Karpathy's JSON."""

import posixpath
import re

from cli.errors import UserError
from pipeline.datasets import karpathy
from pipeline.datasets.fields import str_of
from pipeline.datasets.listing import Listing, clean, confined
from pipeline.storage import files

# Flickr's own number of the photograph: 1000268201_693b08cb0e.jpg, 1000092795.jpg
_NUMBER = re.compile(r"([0-9]+)[_.]")


def image_id(name: str, where: str) -> int:
    """The number before the first `_` or `.` of a file name. Raises UserError: there is none."""
    found = _NUMBER.match(name)
    if not found or int(found[1]) >= 2**63:
        raise UserError(f"{where}: expected `<number>_<hash>.jpg`, found {name[:60]!r}")
    return int(found[1])


def image_folder(data_dir: str, names: tuple[str, ...]) -> str:
    """The first folder of `names` in `data_dir`. Raises UserError: none is there."""
    for name in names:
        folder = posixpath.join(data_dir, name)
        if files.exists(folder):
            return folder
    raise UserError(f"{data_dir}: the image folder is missing: {' or '.join(names)}")


def read_karpathy(path: str, dataset: str, split: str, folder: str) -> Listing:
    """One split of Karpathy's file at `path`; `karpathy.read` says what is raised."""

    def place(entry: dict, where: str) -> tuple[int, str | None]:
        name = clean(str_of(entry, "filename", where))
        return image_id(name, where), confined(folder, name)

    return karpathy.read(path, dataset, split, place)
