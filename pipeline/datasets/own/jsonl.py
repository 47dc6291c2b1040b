"""A user's own data: one line of JSON for each image.

data_dir/captions.jsonl     or data_dir is the path of a file whose name ends in .jsonl

    {"image": "photos/1.jpg", "captions": ["a dog runs", "a brown dog"]}
    {"image": "photos/2.jpg", "captions": ["a cat"], "split": "val", "id": 7}

`image` is relative to the folder of the list. It may be an absolute path or a URL too, but it must
lie in that folder, so that a list from somebody else cannot make the build read other files.
`id` is in every line or in none; without it the number of the line is the id.
`split` is train, val or test; without it the line belongs to train.
"""

import json
import os
import posixpath
from typing import Any

from cli.errors import UserError
from pipeline.datasets.fields import is_int64, shown
from pipeline.datasets.listing import Caption, ListedImage, Listing, clean, confined, text_of
from pipeline.datasets.source import TRAIN_NEEDED, ImageFiles
from pipeline.storage import files
from records.schema import SPLITS, IdSpace

_KEYS = ("image", "captions", "id", "split")
_MAX_PROBLEMS_SHOWN = 5


class JsonLines(ImageFiles):
    """A list of images and captions that a user has written."""

    ids: IdSpace = "own"

    def splits(self, data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
        """Return the splits that have lines; `DataSource.splits` says more.

        Every line of the list is checked.
        """
        path = _list_path(data_dir)
        if not files.exists(path):
            raise UserError(
                f"{path}: no such file; --data_dir must be a .jsonl file or hold captions.jsonl,"
                ' with lines such as {"image": "photos/1.jpg", "captions": ["a dog runs"]}'
            )
        listed = {split for split, _ in _images(path)}
        if not listed:
            raise UserError(f"{path}: no line holds an image")
        if need_train and "train" not in listed:
            raise UserError(f"{path}: no line is in the split train; {TRAIN_NEEDED}")
        remarks = [f"no {s} split: no line of {path} is in it" for s in SPLITS if s not in listed]
        return [split for split in SPLITS if split in listed], remarks

    def read(self, data_dir: str, split: str) -> Listing:
        """List the images and captions of one split.

        Raises:
            UserError: Lines are wrong; the message names the first few and the place in each.
        """
        lines = _images(_list_path(data_dir))
        return Listing(tuple(image for image_split, image in lines if image_split == split))


def _list_path(data_dir: str) -> str:
    is_list = data_dir.endswith(".jsonl")
    return data_dir if is_list else posixpath.join(data_dir, "captions.jsonl")


class _WrongLineError(Exception):
    """A problem in a line. `place` is its column, or the field whose value is wrong."""

    def __init__(self, place: int | str, message: str):
        super().__init__(message)
        self.place = place


def _images(path: str) -> list[tuple[str, ListedImage]]:
    """Return (split, image) of every line; `JsonLines.read` says what is raised."""
    folder = posixpath.dirname(path)
    images, problems = [], []
    line_of: dict[tuple[str, int | str | None], int] = {}
    with_ids = None
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = _parse(line)
            with_ids = "id" in entry if with_ids is None else with_ids
            image = _image(entry, number, folder, with_ids)
            for key, value in (("image", image.path), ("id", image.image_id)):
                first = line_of.setdefault((key, value), number)
                if first != number:
                    raise _WrongLineError(
                        key, f'"{key}": {shown(entry[key])} is in line {first} too'
                    )
            images.append((entry.get("split", "train"), image))
        except _WrongLineError as error:
            problems.append(f"{path}:{number}:{_column(line, error.place)}: {error}")
    if problems:
        shortened = len(problems) > _MAX_PROBLEMS_SHOWN
        note = f"({_MAX_PROBLEMS_SHOWN} of {len(problems):,} wrong lines are shown)"
        raise UserError("\n".join([*problems[:_MAX_PROBLEMS_SHOWN], *[note] * shortened]))
    return images


class _Entry(dict[str, Any]):
    """The object in a line. `repeated` is a key that the line has twice."""

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
    except (ValueError, RecursionError) as error:  # A number of 5,000 digits, or deep nesting.
        raise _WrongLineError(1, f"damaged JSON: {error}") from None
    if not isinstance(entry, _Entry):
        raise _WrongLineError(1, f"expected an object, found {shown(entry)}")
    if entry.repeated:
        raise _WrongLineError(entry.repeated, f"{shown(entry.repeated)} comes twice")
    return entry


def _image(entry: _Entry, number: int, folder: str, with_ids: bool) -> ListedImage:
    """Check the line `number` and return its image; `with_ids`: whether lines must have an id."""
    _check_keys(entry, with_ids)
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


def _check_keys(entry: _Entry, with_ids: bool) -> None:
    for key in entry:
        if key not in _KEYS:
            raise _WrongLineError(
                key, f"unknown field {shown(key)}; the fields are {', '.join(_KEYS)}"
            )
    for key in ("image", "captions"):
        if key not in entry:
            raise _WrongLineError(1, f'"{key}" is missing')
    if ("id" in entry) != with_ids:
        raise _WrongLineError(
            "id" if "id" in entry else 1,
            f'"id" is {"missing" if with_ids else "present"}, unlike in the lines before: all lines'
            " must have one, or none",
        )


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
    """Return the path of `name`, relative to `folder` or absolute; None when it is outside."""
    absolute = os.path.abspath(folder) if files.is_local(folder) else folder
    relative = name.removeprefix(absolute.rstrip("/") + "/")
    return None if "://" in relative else confined(folder, relative)


def _column(line: str, place: int | str) -> int:
    """Return the column of a field's value in a line of valid JSON; the last one if it repeats."""
    if isinstance(place, int):
        return place
    decoder = json.JSONDecoder()
    column = 1
    position = _skip_separators(line, line.index("{") + 1)
    while line[position] != "}":
        key, position = decoder.raw_decode(line, position)
        position = _skip_separators(line, position)
        if key == place:
            column = position + 1
        _, position = decoder.raw_decode(line, position)
        position = _skip_separators(line, position)
    return column


def _skip_separators(line: str, position: int) -> int:
    while line[position] in " \t\r\n:,":
        position += 1
    return position
