"""COCO 2014 in Karpathy's splits: 113,287 train, 5,000 val, 5,000 test.

data_dir/dataset_coco.json
data_dir/train2014/COCO_train2014_000000000009.jpg
data_dir/val2014/COCO_val2014_000000000042.jpg
"""

import posixpath

from cli.errors import UserError
from pipeline.datasets import karpathy
from pipeline.datasets.fields import int_of, str_of
from pipeline.datasets.listing import Listing, clean, confined
from pipeline.storage import files

IDS = "coco"
read_image, image_size = files.read, files.size

_DATASET = "coco"
_FOLDERS = ("train2014", "val2014")


def _path(data_dir: str) -> str:
    return posixpath.join(data_dir, "dataset_coco.json")


def splits(data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
    """train, val and test, as far as images are listed; both image folders must be there."""
    path = _path(data_dir)
    if not files.exists(path):
        raise UserError(f"{path}: no such file; it is in {karpathy.ZIP}; --download fetches it")
    found, remarks = karpathy.splits(path, _DATASET, need_train)
    for name in _FOLDERS:
        folder = posixpath.join(data_dir, name)
        if files.exists(folder):
            continue
        if name == "train2014" and not need_train:
            found = [split for split in found if split != "train"]
            remarks = [*remarks, f"no train split: {folder} is missing"]
            continue
        raise UserError(
            f"{folder}: no such folder; unpack {name}.zip from cocodataset.org into {data_dir}"
            ", or --download it"
        )
    return found, remarks


def read(data_dir: str, split: str) -> Listing:
    """The images and captions of one split; `karpathy.read` says what is raised."""

    def place(entry: dict, where: str) -> tuple[int, str | None]:
        folder, name = (clean(str_of(entry, key, where)) for key in ("filepath", "filename"))
        return int_of(entry, "cocoid", where), confined(data_dir, posixpath.join(folder, name))

    return karpathy.read(_path(data_dir), _DATASET, split, place)
