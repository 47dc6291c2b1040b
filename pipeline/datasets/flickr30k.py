"""Flickr30k in Karpathy's splits: 29,000 train, 1,014 val, 1,000 test.

data_dir/dataset_flickr30k.json
data_dir/flickr30k-images/, flickr30k_images/ or images/
"""

import posixpath

from cli.errors import UserError
from pipeline.datasets import flickr, karpathy
from pipeline.datasets.listing import Listing
from pipeline.storage import files

IDS = "flickr"
read_image, image_size = files.read, files.size

_DATASET = "flickr30k"
_FOLDERS = ("flickr30k-images", "flickr30k_images", "images")


def _path(data_dir: str) -> str:
    return posixpath.join(data_dir, "dataset_flickr30k.json")


def splits(data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
    """train, val and test, as far as images are listed."""
    if not files.exists(_path(data_dir)):
        raise UserError(f"{_path(data_dir)}: no such file; it is in {karpathy.ZIP}")
    flickr.image_folder(data_dir, _FOLDERS)
    return karpathy.splits(_path(data_dir), _DATASET, need_train)


def read(data_dir: str, split: str) -> Listing:
    """The images and captions of one split; `karpathy.read` says what is raised."""
    folder = flickr.image_folder(data_dir, _FOLDERS)
    return flickr.read_karpathy(_path(data_dir), _DATASET, split, folder)
