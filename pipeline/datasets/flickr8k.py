"""Flickr8k, as its two zips unpack, or in Karpathy's JSON: the same splits.

data_dir/Flickr8k.token.txt              1000268201_693b08cb0e.jpg#0<TAB>A child in a pink ...
data_dir/Flickr_8k.trainImages.txt       one file name a line (dev, test)
data_dir/dataset_flickr8k.json           instead of these: read only where there is no token.txt
data_dir/images/ or Flicker8k_Dataset/   the images
"""

import posixpath
from collections import defaultdict

from cli.errors import UserError
from pipeline.datasets import flickr, karpathy
from pipeline.datasets.listing import Caption, ListedImage, Listing, confined, text_of
from pipeline.storage import files

IDS = "flickr"
read_image, image_size = files.read, files.size

_TOKENS = "Flickr8k.token.txt"
_KARPATHY = "dataset_flickr8k.json"
_DATASET = "flickr8k"
_LISTS = {"train": "train", "val": "dev", "test": "test"}
_FOLDERS = ("images", "Flicker8k_Dataset")


def _list_path(data_dir: str, split: str) -> str:
    return posixpath.join(data_dir, f"Flickr_8k.{_LISTS[split]}Images.txt")


def splits(data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
    """The splits whose list is there; the others are left out, with a remark."""
    tokens, json_path = (posixpath.join(data_dir, name) for name in (_TOKENS, _KARPATHY))
    both = files.exists(tokens), files.exists(json_path)
    if not any(both):
        raise UserError(
            f"{tokens}: no such file; --data_dir must hold Flickr8k_text.zip unpacked, or"
            f" {_KARPATHY}"
        )
    flickr.image_folder(data_dir, _FOLDERS)
    if both == (False, True):
        return karpathy.splits(json_path, _DATASET, need_train)
    found = []
    remarks = [f"{_KARPATHY} is passed over: {_TOKENS} is there"] if all(both) else []
    for split in _LISTS:
        path = _list_path(data_dir, split)
        if files.exists(path):
            found.append(split)
        else:
            remarks.append(f"no {split} split: {path} is missing")
    if need_train and "train" not in found:
        raise UserError(
            f"{_list_path(data_dir, 'train')}: no such file; the vocabulary is built from the"
            " train split, or given by --vocabulary"
        )
    if not found:
        raise UserError(f"{data_dir}: none of Flickr_8k.{{train,dev,test}}Images.txt is there")
    return found, remarks


def read(data_dir: str, split: str) -> Listing:
    """The images and captions of one split; captions of other splits' images are passed over.

    Raises:
        UserError: a file is missing or a line has another form.
    """
    folder = flickr.image_folder(data_dir, _FOLDERS)
    if not files.exists(posixpath.join(data_dir, _TOKENS)):
        return flickr.read_karpathy(posixpath.join(data_dir, _KARPATHY), _DATASET, split, folder)
    captions = _captions(posixpath.join(data_dir, _TOKENS))
    path = _list_path(data_dir, split)
    images = []
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        name = line.strip()
        if name:
            image_id = flickr.image_id(name, f"{path}:{number}")
            found = tuple(captions.get(name, ()))
            images.append(ListedImage(image_id, name, confined(folder, name), found))
    return Listing(tuple(images))


def _captions(path: str) -> dict[str, list[Caption]]:
    captions = defaultdict(list)
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        key, tab, text = line.removesuffix("\r").partition("\t")
        name, hash_sign, _ = key.partition("#")
        if not tab or not hash_sign:
            raise UserError(
                f"{path}:{number}: expected `name.jpg#0<TAB>caption`, found {line[:60]!r}"
            )
        captions[name].append(Caption(key, text))
    return captions
