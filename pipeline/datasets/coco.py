"""COCO 2017, as the zips of cocodataset.org unpack.

data_dir/annotations/captions_train2017.json   (val)
data_dir/train2017/000000000009.jpg            (val2017)
"""

import posixpath
from collections import defaultdict

from cli.errors import UserError
from pipeline.datasets.fields import int_of, parse, str_of
from pipeline.datasets.listing import Caption, ListedImage, Listing, clean, confined
from pipeline.datasets.source import ImageFiles
from pipeline.storage import files
from records.schema import IdSpace

_ZIPS = "annotations_trainval2017.zip, train2017.zip and val2017.zip from cocodataset.org"


def annotations(data_dir: str, split: str) -> str:
    """Return the path of a split's captions file."""
    return posixpath.join(data_dir, "annotations", f"captions_{split}2017.json")


def image_folder(data_dir: str, split: str) -> str:
    """Return the path of a split's image folder."""
    return posixpath.join(data_dir, f"{split}2017")


def lies_under(data_dir: str) -> bool:
    """Return whether any part of COCO 2017 is in `data_dir`: then the user means to build it."""
    return any(
        files.exists(path)
        for split in ("train", "val")
        for path in (annotations(data_dir, split), image_folder(data_dir, split))
    )


class Coco2017(ImageFiles):
    """COCO 2017: 118,287 train and 5,000 val images."""

    ids: IdSpace = "coco"

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if it is any part of COCO 2017."""
        return "COCO 2017" if lies_under(data_dir) else None

    def splits(self, data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
        """Return train and val; `DataSource.splits` says more.

        Both must be present, but train only when the vocabulary is built from it.
        """
        names, remarks = [], []
        for split in ("train", "val"):
            path, folder = annotations(data_dir, split), image_folder(data_dir, split)
            if not files.exists(path):
                if split == "train" and not need_train:
                    remarks.append(f"no train split: {path} is missing")
                    continue
                raise UserError(
                    f"{path}: no such file; --download fetches it, or unpack {_ZIPS} into"
                    f" {data_dir}"
                )
            if not files.exists(folder):
                raise UserError(
                    f"{folder}: no such folder; --download fetches it, or unpack {split}2017.zip"
                    f" from cocodataset.org into {data_dir}"
                )
            names.append(split)
        return names, remarks

    def read(self, data_dir: str, split: str) -> Listing:
        """List the images and captions of one split.

        Raises:
            UserError: The file is missing, cut, or not COCO's; the message names the place in it.
        """
        path, folder = annotations(data_dir, split), image_folder(data_dir, split)
        content = parse(path, ("images", "annotations"))
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
            of_image = tuple(captions.get(image_id, ()))
            images.append(ListedImage(image_id, name, confined(folder, name), of_image))
        listed = {image.image_id for image in images}
        strays = [(i, c) for i, group in captions.items() if i not in listed for c in group]
        return Listing(tuple(images), tuple(strays))
