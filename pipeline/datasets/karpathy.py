"""Karpathy's JSON files: COCO 2014, Flickr8k and Flickr30k in the splits that papers report.

{"dataset": "coco", "images": [
    {"filename": "COCO_val2014_000000391895.jpg", "filepath": "val2014", "cocoid": 391895,
     "split": "test", "sentences": [{"raw": "A man with a red ...", "sentid": 770337, ...}, ...]},
    ...]}

Flickr's images have no filepath and no cocoid. COCO's `restval`, the images of val2014 that are not
in val or test, goes to train. The captions are `raw`; the file's own `tokens` are ignored.
"""

from collections.abc import Callable
from typing import Any

from cli.errors import UserError
from pipeline.datasets.fields import int_of, list_of, parse, shown, str_of
from pipeline.datasets.listing import Caption, ListedImage, Listing, clean
from pipeline.datasets.source import TRAIN_NEEDED
from records.schema import SPLITS

ZIP = "caption_datasets.zip from cs.stanford.edu/people/karpathy/deepimagesent"

_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}

# An image in the file, as JSON gives it.
Entry = dict[str, Any]
# (entry, its place in the file) -> (image id, path of the image; None outside the image folder).
Locate = Callable[[Entry, str], tuple[int, str | None]]


def images(path: str, dataset: str) -> list[tuple[str, str, Entry]]:
    """Read every image of Karpathy's file at `path`.

    Args:
        path: The file.
        dataset: The name that the file must give as its data set.

    Returns:
        (split, place in the file, entry) of each image, in the file's order.

    Raises:
        UserError: The file is missing, cut, not Karpathy's, or of another data set; the message
            names the place in it.
    """
    content = parse(path, ("images",), _without_tokens)
    if content.get("dataset", dataset) != dataset:
        raise UserError(
            f'{path}: "dataset" is {shown(content["dataset"])}, expected {shown(dataset)}'
        )
    entries = []
    for index, entry in enumerate(content["images"]):
        where = f"{path}: images[{index}]"
        split = str_of(entry, "split", where)
        if split not in _SPLITS:
            raise UserError(
                f'{where}: "split" must be one of {", ".join(_SPLITS)}, found {shown(split)}'
            )
        entries.append((_SPLITS[split], where, entry))
    return entries


def splits(path: str, dataset: str, need_train: bool) -> tuple[list[str], list[str]]:
    """Find the splits that have images.

    Args:
        path: Karpathy's file.
        dataset: The name that the file must give as its data set.
        need_train: Whether train must be among them.

    Returns:
        (names of the splits, remarks on those without images).

    Raises:
        UserError: As `images`, or the train split is needed and has no images.
    """
    listed = {split for split, _, _ in images(path, dataset)}
    if need_train and "train" not in listed:
        raise UserError(f"{path}: no image has the split train; {TRAIN_NEEDED}")
    remarks = [f"no {s} split: {path} lists no image for it" for s in SPLITS if s not in listed]
    return [split for split in SPLITS if split in listed], remarks


def read(path: str, dataset: str, split: str, locate: Locate) -> Listing:
    """List the images and captions of one split, in the file's order.

    Args:
        path: Karpathy's file.
        dataset: The name that the file must give as its data set.
        split: One of train, val, test.
        locate: Returns the id and the path of an image.

    Raises:
        UserError: As `images`, or a field is missing or has another type.
    """
    listed = []
    for image_split, where, entry in images(path, dataset):
        if image_split == split:
            image_id, image_path = locate(entry, where)
            name = clean(str_of(entry, "filename", where))
            listed.append(ListedImage(image_id, name, image_path, _captions(entry, where)))
    return Listing(tuple(listed))


def _captions(entry: Entry, where: str) -> tuple[Caption, ...]:
    captions = []
    for index, sentence in enumerate(list_of(entry, "sentences", where)):
        place = f"{where}: sentences[{index}]"
        text = clean(str_of(sentence, "raw", place))
        captions.append(Caption(int_of(sentence, "sentid", place), text))
    return tuple(captions)


def _without_tokens(value: dict[str, Any]) -> dict[str, Any]:
    """Drop the tokens, which would take most of the memory that COCO's file needs."""
    value.pop("tokens", None)
    return value
