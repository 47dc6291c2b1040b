"""COCO 2017, as the zips of cocodataset.org unpack.

data_dir/annotations/captions_train2017.json   (val)
data_dir/train2017/000000000009.jpg            (val2017)
"""

import json
import posixpath
from collections import defaultdict
from typing import Any

from pipeline import files
from pipeline.datasets.listing import Caption, ListedImage, Listing, clean, confined, text_of
from records.errors import UserError

IDS = "coco"
read_image, image_size = files.read, files.size

_ZIPS = "annotations_trainval2017.zip, train2017.zip and val2017.zip from cocodataset.org"
_INT64 = range(-(2**63), 2**63)


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
            raise UserError(f"{path}: no such file; unpack {_ZIPS} into {data_dir}")
        if not files.exists(image_folder(data_dir, split)):
            raise UserError(
                f"{image_folder(data_dir, split)}: no such folder; unpack {split}2017.zip from"
                f" cocodataset.org into {data_dir}"
            )
        found.append(split)
    return found, remarks


def read(data_dir: str, split: str) -> Listing:
    """The images and captions of one split.

    Raises:
        UserError: the file is missing, cut, or not COCO's; the message names the place in it.
    """
    path = annotations(data_dir, split)
    content = _parse(path)
    folder = image_folder(data_dir, split)
    captions = defaultdict(list)
    for index, entry in enumerate(_list(content, "annotations", path)):
        where = f"{path}: annotations[{index}]"
        caption = Caption(_int(entry, "id", where), clean(_str(entry, "caption", where)))
        captions[_int(entry, "image_id", where)].append(caption)
    images = []
    for index, entry in enumerate(_list(content, "images", path)):
        where = f"{path}: images[{index}]"
        image_id = _int(entry, "id", where)
        name = clean(_str(entry, "file_name", where))
        images.append(
            ListedImage(image_id, name, confined(folder, name), tuple(captions.get(image_id, ())))
        )
    known = {image.image_id for image in images}
    strays = [(i, c) for i, group in captions.items() if i not in known for c in group]
    return Listing(tuple(images), tuple(strays))


def _parse(path: str) -> dict:
    text = text_of(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}:{error.lineno}:{error.colno}: damaged JSON, perhaps a file cut short:"
            f" {error.msg} (character {error.pos:,} of {len(text):,})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f'{path}: expected an object with "images" and "annotations"')
    return content


def _list(content: dict, key: str, path: str) -> list:
    value = content.get(key)
    if not isinstance(value, list):
        raise UserError(f'{path}: no list "{key}": not a COCO captions file')
    return value


def _value(entry: Any, key: str, where: str) -> Any:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected an object, found {json.dumps(entry)[:60]}")
    if key not in entry:
        raise UserError(f'{where}: "{key}" is missing')
    return entry[key]


def _int(entry: Any, key: str, where: str) -> int:
    value = _value(entry, key, where)
    if type(value) is not int or value not in _INT64:
        raise UserError(f'{where}: "{key}" must be an integer, found {json.dumps(value)[:60]}')
    return value


def _str(entry: Any, key: str, where: str) -> str:
    value = _value(entry, key, where)
    if not isinstance(value, str):
        raise UserError(f'{where}: "{key}" must be a string, found {json.dumps(value)[:60]}')
    return value
