"""Flickr8k, as its two zips unpack, or in Karpathy's JSON, which has the same splits.

data_dir/Flickr8k.token.txt              1000268201_693b08cb0e.jpg#0<TAB>A child in a pink ...
data_dir/Flickr_8k.trainImages.txt       one file name a line (dev, test)
data_dir/dataset_flickr8k.json           read only when there is no Flickr8k.token.txt
data_dir/images/ or Flicker8k_Dataset/   the images
"""

import posixpath
from collections import defaultdict

from cli.errors import UserError
from pipeline.datasets import flickr, karpathy
from pipeline.datasets.listing import Caption, ListedImage, Listing, confined, text_of
from pipeline.datasets.source import TRAIN_NEEDED, ImageFiles
from pipeline.storage import files
from records.schema import IdSpace

_TOKENS = "Flickr8k.token.txt"
_KARPATHY = "dataset_flickr8k.json"
_DATASET = "flickr8k"
_LISTS = {"train": "train", "val": "dev", "test": "test"}
_FOLDERS = ("images", "Flicker8k_Dataset")


def _list_path(data_dir: str, split: str) -> str:
    return posixpath.join(data_dir, f"Flickr_8k.{_LISTS[split]}Images.txt")


class Flickr8k(ImageFiles):
    """Flickr8k: 6,000 train, 1,000 val and 1,000 test images."""

    ids: IdSpace = "flickr"

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if a list of Flickr8k's captions is there."""
        for name in (_TOKENS, _KARPATHY):
            if files.exists(posixpath.join(data_dir, name)):
                return f"Flickr8k ({name})"
        return None

    def splits(self, data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
        """Return the splits whose list is present; `DataSource.splits` says more.

        A remark names each split that is left out.
        """
        tokens, json_path = (posixpath.join(data_dir, name) for name in (_TOKENS, _KARPATHY))
        has_tokens, has_json = files.exists(tokens), files.exists(json_path)
        if not (has_tokens or has_json):
            raise UserError(
                f"{tokens}: no such file; --data_dir must hold Flickr8k_text.zip unpacked, or"
                f" {_KARPATHY}"
            )
        flickr.image_folder(data_dir, _FOLDERS)
        if not has_tokens:
            return karpathy.splits(json_path, _DATASET, need_train)
        paths = {split: _list_path(data_dir, split) for split in _LISTS}
        names = [split for split, path in paths.items() if files.exists(path)]
        if need_train and "train" not in names:
            raise UserError(f"{paths['train']}: no such file; {TRAIN_NEEDED}")
        if not names:
            raise UserError(f"{data_dir}: no file Flickr_8k.{{train,dev,test}}Images.txt")
        remarks = [f"{_KARPATHY} is ignored: {_TOKENS} is present"] if has_json else []
        remarks += [
            f"no {split} split: {path} is missing"
            for split, path in paths.items()
            if split not in names
        ]
        return names, remarks

    def read(self, data_dir: str, split: str) -> Listing:
        """List the images and captions of one split.

        Flickr8k.token.txt holds the captions of all splits: those of other splits are ignored.

        Raises:
            UserError: A file is missing, or a line has another form.
        """
        folder = flickr.image_folder(data_dir, _FOLDERS)
        tokens, json_path = (posixpath.join(data_dir, name) for name in (_TOKENS, _KARPATHY))
        if not files.exists(tokens):
            return flickr.read_karpathy(json_path, _DATASET, split, folder)
        captions = _captions(tokens)
        path = _list_path(data_dir, split)
        images = []
        for number, line in enumerate(text_of(path).split("\n"), start=1):
            name = line.strip()
            if name:
                image_id = flickr.image_id(name, f"{path}:{number}")
                of_image = tuple(captions.get(name, ()))
                images.append(ListedImage(image_id, name, confined(folder, name), of_image))
        return Listing(tuple(images))


def _captions(path: str) -> dict[str, list[Caption]]:
    """Return the captions of each file name in Flickr8k.token.txt."""
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
