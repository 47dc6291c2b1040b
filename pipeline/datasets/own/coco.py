"""Any JSON file of captions in COCO's format, also packed with gzip.

data_dir/train.json or annotations/captions_train2017.json, and the images in any folder beside it

    {"images": [{"id": 7, "file_name": "a.jpg"}],
     "annotations": [{"image_id": 7, "caption": "a dog"}]}

Ids are integers, or strings of digits. Images without captions may be listed. Where two files
number different images with the same ids, the images get ids from their names.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from cli.errors import UserError
from pipeline.datasets.fields import is_int64, parse, shown, str_of, value_of
from pipeline.datasets.listing import Caption, beginning, clean
from pipeline.datasets.options import FRACTIONS, PATHS
from pipeline.datasets.own.entries import Entry, EntrySource
from pipeline.datasets.own.findings import Findings
from pipeline.datasets.own.lists import (
    SAMPLED,
    ListFile,
    image_folder,
    list_candidates,
    list_files,
)

_KEYS = ("images", "annotations")
# Keys with which a file in COCO's format may begin.
_TOP_KEYS = (*_KEYS, "info", "licenses", "type", "categories")
# Other files that people keep beside captions, such as instances_train2017.json.
_NO_CAPTIONS = ("instances", "person_keypoints", "image_info", "stuff", "panoptic", "dataset_")


def is_list(path: str) -> bool:
    """Return whether a file of this name may hold captions in COCO's format."""
    name = posixpath.basename(path).lower()
    return name.endswith((".json", ".json.gz")) and not name.startswith(_NO_CAPTIONS)


class _Image(NamedTuple):
    """An image of a file: its id there, its name, its path, and where it is listed."""

    image_id: int
    name: str
    path: str
    place: str


class CocoCaptions(EntrySource):
    """COCO's format, under any names."""

    reads = (*PATHS, *FRACTIONS)

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if files of captions in COCO's format are there."""
        paths = [data_dir] if is_list(data_dir) else list_candidates(data_dir, is_list)
        paths = [path for path in paths if _begins_like_coco(path)]
        names = ", ".join(map(posixpath.basename, paths))
        return f"captions in COCO's format ({names})" if paths else None

    def entries(self, data_dir: str, findings: Findings) -> Iterator[Entry]:
        """Yield the images of all files; `EntrySource.entries` says more."""
        lists = list_files(self._options, data_dir, is_list, "JSON file of captions")
        contents = [parse(file.path, _KEYS) for file in lists]
        listed = [
            _images(file, content["images"], findings)
            for file, content in zip(lists, contents, strict=True)
        ]
        shared = _shared_id(listed)
        if shared is not None:
            findings.remark(
                f"image id {shared} is that of different images in two files: images get ids from"
                " their names instead"
            )
        for file, content, images in zip(lists, contents, listed, strict=True):
            captions = _captions(file.path, content["annotations"])
            known = set()
            for image in images:
                texts = () if image.image_id in known else captions.get(image.image_id, ())
                known.add(image.image_id)
                yield Entry(
                    image.name,
                    image.path,
                    tuple(caption.text for caption in texts),
                    image.place,
                    file.split,
                    image.image_id if shared is None else None,
                    file.key(image.name),
                )
            for image_id, strays in captions.items():
                if image_id not in known:
                    for caption in strays:
                        findings.stray(file.split or "train", image_id, caption)


def _begins_like_coco(path: str) -> bool:
    begin = beginning(path).lstrip()
    return begin.startswith("{") and re.search(f'"({"|".join(_TOP_KEYS)})"', begin) is not None


def _images(file: ListFile, entries: list[Any], findings: Findings) -> list[_Image]:
    """Return the images of one file, with the files that they name."""
    named = []
    for index, entry in enumerate(entries):
        place = f"{file.path}: images[{index}]"
        named.append((_id_of(entry, "id", place), clean(str_of(entry, "file_name", place)), place))
    folder = image_folder(file, [name for _, name, _ in named[:SAMPLED]])
    images = []
    for image_id, name, place in named:
        located = folder.locate(name, place)
        if located:
            images.append(_Image(image_id, *located, place))
        else:
            findings.problem(place, f'"file_name" {folder.outside(name)}')
    folder.report(findings)
    folder.note_unlisted(findings)
    return images


def _captions(path: str, annotations: list[Any]) -> dict[int, list[Caption]]:
    captions = defaultdict(list)
    for index, entry in enumerate(annotations):
        place = f"{path}: annotations[{index}]"
        caption = Caption(index, str_of(entry, "caption", place))
        captions[_id_of(entry, "image_id", place)].append(caption)
    return captions


def _id_of(entry: Any, key: str, place: str) -> int:
    """Return the id in a field: an integer, also as a string or, from pandas, as a float."""
    value = value_of(entry, key, place)
    is_text = isinstance(value, str) and re.fullmatch("[0-9]{1,19}", value)
    is_whole = isinstance(value, float) and value.is_integer()
    number = int(value) if is_text or is_whole else value
    if not is_int64(number):
        raise UserError(f'{place}: "{key}" must be an integer, found {shown(value)}')
    return number


def _shared_id(listed: list[list[_Image]]) -> int | None:
    """Return an id that two files give to different images; None when there is none."""
    paths: dict[int, str] = {}
    for images in listed:
        of_file: dict[int, str] = {}
        for image in images:
            of_file.setdefault(image.image_id, image.path)
        for image_id, path in of_file.items():
            if paths.setdefault(image_id, path) != path:
                return image_id
    return None
