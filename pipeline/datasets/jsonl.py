"""Anybody's own data: a line of JSON for each image.

data_dir/captions.jsonl     or data_dir is the path of a file whose name ends in .jsonl

    {"image": "photos/1.jpg", "captions": ["a dog runs", "a brown dog"]}
    {"image": "photos/2.jpg", "captions": ["a cat"], "split": "val", "id": 7}

`image` is relative to the folder of the list. An absolute path or a URL may stand there too, but it
must lie in that folder: whoever hands you a list cannot make the build read your other files.
`id` stands in every line or in none; where there is none, the number of the line is the id.
`split` is train, val or test; train where it is left out.
"""

import json
import os
import posixpath
import re
from typing import Any

from cli.errors import UserError
from pipeline.datasets.fields import is_int64, shown
from pipeline.datasets.listing import Caption, ListedImage, Listing, clean, confined, text_of
from pipeline.storage import files
from records.schema import SPLITS

IDS = "own"
read_image, image_size = files.read, files.size

_KEYS = ("image", "captions", "id", "split")
_SHOWN = 5


def _path(data_dir: str) -> str:
    is_list = data_dir.endswith(".jsonl")
    return data_dir if is_list else posixpath.join(data_dir, "captions.jsonl")


def splits(data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
    """The splits that have lines; the whole list is checked."""
    path = _path(data_dir)
    if not files.exists(path):
        raise UserError(
            f"{path}: no such file; --data_dir must be a .jsonl file or hold captions.jsonl, with"
            ' lines such as {"image": "photos/1.jpg", "captions": ["a dog runs"]}'
        )
    there = {split for split, _ in _images(path)}
    if not there:
        raise UserError(f"{path}: no line is in it")
    if need_train and "train" not in there:
        raise UserError(
            f"{path}: no line is in the split train; the vocabulary is built from it, or given by"
            " --vocabulary"
        )
    found = [split for split in SPLITS if split in there]
    return found, [f"no {s} split: no line of {path} is in it" for s in SPLITS if s not in there]


def read(data_dir: str, split: str) -> Listing:
    """The images and captions of one split.

    Raises:
        UserError: lines are wrong; it names the first few, and the place in each.
    """
    return Listing(
        tuple(image for its_split, image in _images(_path(data_dir)) if its_split == split)
    )


class _WrongLineError(Exception):
    """What is wrong with a line. `place`: the column, or the field (the last of that name)."""

    def __init__(self, place: int | str, message: str):
        super().__init__(message)
        self.place = place


def _images(path: str) -> list[tuple[str, ListedImage]]:
    """(split, image) of every line. Raises UserError: `read` says why."""
    folder = posixpath.dirname(path)
    found, problems = [], []
    line_of: dict[tuple[str, Any], int] = {}
    with_ids = None
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = _parse(line)
            with_ids = "id" in entry if with_ids is None else with_ids
            image = _image(entry, number, folder, with_ids)
            for key, value in (("image", image.path), ("id", image.image_id)):
                other = line_of.setdefault((key, value), number)
                if other != number:
                    raise _WrongLineError(
                        key, f'"{key}": {shown(entry[key])} is in line {other} too'
                    )
            found.append((entry.get("split", "train"), image))
        except _WrongLineError as error:
            problems.append(f"{path}:{number}:{_column(line, error.place)}: {error}")
    if problems:
        count = len(problems)
        rest = [f"({_SHOWN} of {count:,} wrong lines are shown)"] if count > _SHOWN else []
        raise UserError("\n".join([*problems[:_SHOWN], *rest]))
    return found


class _Entry(dict):
    """An object of a line. `repeated`: a key that came twice."""

    repeated: str | None = None


def _entry(pairs: list[tuple[str, Any]]) -> _Entry:
    entry = _Entry(pairs)
    if len(entry) < len(pairs):
        keys = [key for key, _ in pairs]
        entry.repeated = next(key for key in keys if keys.count(key) > 1)
    return entry


def _parse(line: str) -> _Entry:
    try:
        entry = json.loads(line, object_pairs_hook=_entry)
    except json.JSONDecodeError as error:
        raise _WrongLineError(error.colno, f"damaged JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, deep nesting
        raise _WrongLineError(1, f"damaged JSON: {error}") from None
    if not isinstance(entry, _Entry):
        raise _WrongLineError(1, f"expected an object, found {shown(entry)}")
    if entry.repeated:
        raise _WrongLineError(entry.repeated, f"{shown(entry.repeated)} comes twice")
    return entry


def _image(entry: dict, number: int, folder: str, with_ids: bool) -> ListedImage:
    """The image of the line `number`. Raises _WrongLineError."""
    for key in entry:
        if key not in _KEYS:
            raise _WrongLineError(key, f"unknown field {shown(key)}; there are {', '.join(_KEYS)}")
    for key in ("image", "captions"):
        if key not in entry:
            raise _WrongLineError(1, f'"{key}" is missing')
    if ("id" in entry) != with_ids:
        raise _WrongLineError(
            "id" if "id" in entry else 1,
            f'"id" is {"missing" if with_ids else "given"}, unlike in the lines before: all lines'
            " have one or none has",
        )
    split, image_id = entry.get("split", "train"), entry.get("id", number)
    if split not in SPLITS:
        raise _WrongLineError(
            "split", f'"split" must be one of {", ".join(SPLITS)}, found {shown(split)}'
        )
    if not is_int64(image_id):
        raise _WrongLineError("id", f'"id" must be an integer, found {shown(image_id)}')
    name = entry["image"]
    if not isinstance(name, str):
        raise _WrongLineError("image", f'"image" must be a string, found {shown(name)}')
    name = clean(name)
    path = _confined(folder, name)
    if path is None:
        raise _WrongLineError(
            "image", f'"image" must name a file in {folder or "."}, found {shown(name)}'
        )
    return ListedImage(image_id, name, path, _captions(entry["captions"], name))


def _captions(captions: Any, name: str) -> tuple[Caption, ...]:
    if not isinstance(captions, list):
        raise _WrongLineError("captions", f'"captions" must be a list, found {shown(captions)}')
    for index, text in enumerate(captions):
        if not isinstance(text, str):
            raise _WrongLineError(
                "captions", f'"captions"[{index}] must be a string, found {shown(text)}'
            )
    return tuple(Caption(f"{name}#{index}", clean(text)) for index, text in enumerate(captions))


def _confined(folder: str, name: str) -> str | None:
    """The path of `name`, relative to `folder` or absolute; None where it is not in `folder`."""
    whole = os.path.abspath(folder) if files.is_local(folder) else folder
    relative = name.removeprefix(whole.rstrip("/") + "/")
    return None if "://" in relative else confined(folder, relative)


def _column(line: str, place: int | str) -> int:
    """The column of a field's value in a line that is whole JSON; of two of a name, the last's."""
    if isinstance(place, int):
        return place
    decoder, position, found = json.JSONDecoder(), line.index("{") + 1, 1
    between = re.compile(r"[\s:,]*")
    while line[position := between.match(line, position).end()] != "}":
        key, position = decoder.raw_decode(line, position)
        position = between.match(line, position).end()
        if key == place:
            found = position + 1
        _, position = decoder.raw_decode(line, position)
    return found
