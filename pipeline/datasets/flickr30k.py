"""Flickr30k in Karpathy's splits.

data_dir/dataset_flickr30k.json
data_dir/flickr30k-images/, flickr30k_images/ or images/
"""

import posixpath

from cli.errors import UserError
from pipeline.datasets import flickr, karpathy
from pipeline.datasets.listing import Listing
from pipeline.datasets.source import ImageFiles
from pipeline.storage import files
from records.schema import IdSpace

_DATASET = "flickr30k"
_FOLDERS = ("flickr30k-images", "flickr30k_images", "images")


def _annotations(data_dir: str) -> str:
    return posixpath.join(data_dir, "dataset_flickr30k.json")


class Flickr30k(ImageFiles):
    """Flickr30k: 29,000 train, 1,014 val and 1,000 test images."""

    ids: IdSpace = "flickr"

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if Karpathy's list of Flickr30k is there."""
        path = _annotations(data_dir)
        return f"Flickr30k ({posixpath.basename(path)})" if files.exists(path) else None

    def splits(self, data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
        """Return those of train, val and test that have images; `DataSource.splits` says more."""
        path = _annotations(data_dir)
        if not files.exists(path):
            raise UserError(f"{path}: no such file; it is in {karpathy.ZIP}")
        flickr.image_folder(data_dir, _FOLDERS)
        return karpathy.splits(path, _DATASET, need_train)

    def read(self, data_dir: str, split: str) -> Listing:
        """List the images and captions of one split; `karpathy.read` says what it raises."""
        folder = flickr.image_folder(data_dir, _FOLDERS)
        return flickr.read_karpathy(_annotations(data_dir), _DATASET, split, folder)
