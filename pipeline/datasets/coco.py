"""COCO 2017, as the zips of cocodataset.org unpack.

data_dir/annotations/captions_train2017.json   (val)
data_dir/train2017/000000000009.jpg            (val2017)
"""

import posixpath
from collections import defaultdict

from cli.errors import UserError
from pipeline.datasets.fields import int_of, parse, str_of
from pipeline.datasets.listing import Caption, ListedImage, Listing, clean, confined
from pipeline.storage import files

IDS = "coco"
read_image, image_size = files.read, files.size

_ZIPS = "annotations_trainval2017.zip, train2017.zip and val2017.zip from cocodataset.org"


def annotations(data_dir: str, split: str) -> str:
    """Path of a split's captions file."""
    return posixpath.join(data_dir, "annotations", f"captions_{split}2017.json")


def image_folder(data_dir: str, split: str) -> str:
    """Path of a split's images."""
    return posixpath.join(data_dir, f"{split}2017")


def lies_under(data_dir: str) -> bool:
    """Whether any part of COCO 2017 is in `data_dir`, so that it is what the user means."""
    return any(
        files.exists(path)
        for split in ("train", "val")
        for path in (annotations(data_dir, split), image_folder(data_dir, split))
    )


def splits(data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
    """train and val; both must be there, but train only where the vocabulary comes from it."""
    found, remarks = [], []
    for split in ("train", "val"):
        path = annotations(data_dir, split)
        if not files.exists(path):
            if split == "train" and not need_train:
                remarks.append(f"no train split: {path} is missing")
                continue
            raise UserError(
                f"{path}: no such file; --download fetches it, or unpack {_ZIPS} into {data_dir}"
            )
        if not files.exists(image_folder(data_dir, split)):
            raise UserError(
                f"{image_folder(data_dir, split)}: no such folder; --download fetches it, or"
                f" unpack {split}2017.zip from cocodataset.org into {data_dir}"
            )
        found.append(split)
    return found, remarks


def read(data_dir: str, split: str) -> Listing:
    """The images and captions of one split.

    Raises:
        UserError: the file is missing, cut, or not COCO's; the message names the place in it.
    """
    path = annotations(data_dir, split)
    content = parse(path, ("images", "annotations"))
    folder = image_folder(data_dir, split)
    captions = defaultdict(list)
    for index, entry in enumerate(content["annotations"]):
        where = f"{path}: annotations[{index}]"
        caption = Caption(int_of(entry, "id", where), clean(str_of(entry, "caption", where)))
        captions[int_of(entry, "image_id", where)].append(caption)
    images = []
    for index, entry in enumerate(content["images"]):
        where = f"{path}: images[{index}]"
        image_id = int_of(entry, "id", where)
        name = clean(str_of(entry, "file_name", where))
        images.append(
            ListedImage(image_id, name, confined(folder, name), tuple(captions.get(image_id, ())))
        )
    known = {image.image_id for image in images}
    strays = [(i, c) for i, group in captions.items() if i not in known for c in group]
    return Listing(tuple(images), tuple(strays))
