"""COCO 2014 in Karpathy's splits.

data_dir/dataset_coco.json
data_dir/train2014/COCO_train2014_000000000009.jpg
data_dir/val2014/COCO_val2014_000000000042.jpg
"""

import posixpath

from cli.errors import UserError
from pipeline.datasets import karpathy
from pipeline.datasets.fields import int_of, str_of
from pipeline.datasets.karpathy import Entry
from pipeline.datasets.listing import Listing, clean, confined
from pipeline.datasets.source import ImageFiles
from pipeline.storage import files
from records.schema import IdSpace

_DATASET = "coco"
_FOLDERS = ("train2014", "val2014")


def _annotations(data_dir: str) -> str:
    return posixpath.join(data_dir, "dataset_coco.json")


class Coco2014(ImageFiles):
    """COCO 2014: 113,287 train, 5,000 val and 5,000 test images."""

    ids: IdSpace = "coco"

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if Karpathy's list of COCO is there."""
        path = _annotations(data_dir)
        return f"COCO 2014 ({posixpath.basename(path)})" if files.exists(path) else None

    def splits(self, data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
        """Return those of train, val and test that have images; `DataSource.splits` says more.

        Both image folders must be present, but train2014 only when the vocabulary is built from
        the train split.
        """
        path = _annotations(data_dir)
        if not files.exists(path):
            raise UserError(f"{path}: no such file; it is in {karpathy.ZIP}; --download fetches it")
        names, remarks = karpathy.splits(path, _DATASET, need_train)
        for folder_name in _FOLDERS:
            folder = posixpath.join(data_dir, folder_name)
            if files.exists(folder):
                continue
            if folder_name == "train2014" and not need_train:
                names = [split for split in names if split != "train"]
                remarks = [*remarks, f"no train split: {folder} is missing"]
                continue
            raise UserError(
                f"{folder}: no such folder; unpack {folder_name}.zip from cocodataset.org into"
                f" {data_dir}, or --download it"
            )
        return names, remarks

    def read(self, data_dir: str, split: str) -> Listing:
        """List the images and captions of one split; `karpathy.read` says what it raises."""

        def locate(entry: Entry, where: str) -> tuple[int, str | None]:
            folder, name = (clean(str_of(entry, key, where)) for key in ("filepath", "filename"))
            return int_of(entry, "cocoid", where), confined(data_dir, posixpath.join(folder, name))

        return karpathy.read(_annotations(data_dir), _DATASET, split, locate)
