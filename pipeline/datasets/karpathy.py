"""Karpathy's JSON files: COCO 2014, Flickr8k and Flickr30k in the splits that papers report.

{"dataset": "coco", "images": [
    {"filename": "COCO_val2014_000000391895.jpg", "filepath": "val2014", "cocoid": 391895,
     "split": "test", "sentences": [{"raw": "A man with a red ...", "sentid": 770337, ...}, ...]},
    ...]}

Flickr's images have no filepath and no cocoid. COCO's `restval`, what val and test left of val2014,
goes to train. The captions are `raw`: the file's own `tokens` are passed over.
"""

from collections.abc import Callable

from cli.errors import UserError
from pipeline.datasets.fields import int_of, list_of, parse, shown, str_of
from pipeline.datasets.listing import Caption, ListedImage, Listing, clean
from records.schema import SPLITS

ZIP = "caption_datasets.zip from cs.stanford.edu/people/karpathy/deepimagesent"

_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}

# (entry of an image, where it is) -> (its id, the path of its file)
Place = Callable[[dict, str], tuple[int, str | None]]


def images(path: str, dataset: str) -> list[tuple[str, str, dict]]:
    """(split, where, entry) of every image in the file at `path`.

    Raises:
        UserError: the file is missing, cut, not Karpathy's, or of another set than `dataset`; the
            message names the place in it.
    """
    content = parse(path, ("images",), _without_tokens)
    if content.get("dataset", dataset) != dataset:
        raise UserError(
            f'{path}: "dataset" is {shown(content["dataset"])}, expected {shown(dataset)}'
        )
    found = []
    for index, entry in enumerate(content["images"]):
        where = f"{path}: images[{index}]"
        split = str_of(entry, "split", where)
        if split not in _SPLITS:
            raise UserError(
                f'{where}: "split" must be one of {", ".join(_SPLITS)}, found {shown(split)}'
            )
        found.append((_SPLITS[split], where, entry))
    return found


def splits(path: str, dataset: str, need_train: bool) -> tuple[list[str], list[str]]:
    """The splits that have images, remarks on those that have none.

    Raises:
        UserError: as `images`, or no train split where one is needed.
    """
    there = {split for split, _, _ in images(path, dataset)}
    if need_train and "train" not in there:
        raise UserError(
            f"{path}: no image has the split train; the vocabulary is built from it, or given by"
            " --vocabulary"
        )
    found = [split for split in SPLITS if split in there]
    return found, [f"no {s} split: {path} lists no image of it" for s in SPLITS if s not in there]


def read(path: str, dataset: str, split: str, place: Place) -> Listing:
    """The images and captions of one split, in the file's order.

    Raises:
        UserError: as `images`, or a field is missing or of another type.
    """
    listed = []
    for its_split, where, entry in images(path, dataset):
        if its_split == split:
            image_id, file_path = place(entry, where)
            name = clean(str_of(entry, "filename", where))
            listed.append(ListedImage(image_id, name, file_path, _captions(entry, where)))
    return Listing(tuple(listed))


def _captions(entry: dict, where: str) -> tuple[Caption, ...]:
    captions = []
    for index, sentence in enumerate(list_of(entry, "sentences", where)):
        there = f"{where}: sentences[{index}]"
        text = clean(str_of(sentence, "raw", there))
        captions.append(Caption(int_of(sentence, "sentid", there), text))
    return tuple(captions)


def _without_tokens(value: dict) -> dict:
    """Of COCO's file they would take most of the memory."""
    value.pop("tokens", None)
    return value
