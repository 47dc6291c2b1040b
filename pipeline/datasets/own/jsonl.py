"""A user's own data: one line of JSON for each image.

data_dir/captions.jsonl     or data_dir is the path of a file whose name ends in .jsonl

    {"image": "photos/1.jpg", "captions": ["a dog runs", "a brown dog"]}
    {"image": "photos/2.jpg", "captions": ["a cat"], "split": "val", "id": 7}

`image` is relative to the folder of the list. It may be an absolute path or a URL too, but it must
lie in that folder, so that a list from somebody else cannot make the build read other files.
`id` is in every line or in none; without it the number of the line is the id.
`split` is train, val or test; without it --val_fraction and --test_fraction decide.
"""

import json
import posixpath
from collections.abc import Iterator
from typing import Any

from cli.errors import UserError
from pipeline.datasets.fields import is_int64, shown
from pipeline.datasets.listing import text_of
from pipeline.datasets.own.entries import Entry, EntrySource, split_of
from pipeline.datasets.own.findings import Findings
from pipeline.datasets.own.image_names import ImageFolder
from pipeline.storage import files
from records.schema import SPLITS

_KEYS = ("image", "captions", "id", "split")


class JsonLines(EntrySource):
    """A list of images and captions that a user has written."""

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if it is a list in lines of JSON."""
        path = _list_path(data_dir)
        return f"{path}, a list in lines of JSON" if files.exists(path) else None

    def entries(self, data_dir: str, findings: Findings) -> Iterator[Entry]:
        """Yield the image of every line; `EntrySource.entries` says more."""
        path = _list_path(data_dir)
        if not files.exists(path):
            raise UserError(
                f"{path}: no such file; --data_dir must be a .jsonl file or hold captions.jsonl,"
                ' with lines such as {"image": "photos/1.jpg", "captions": ["a dog runs"]}'
            )
        return _entries(path, findings)


def _list_path(data_dir: str) -> str:
    is_list = data_dir.endswith(".jsonl")
    return data_dir if is_list else posixpath.join(data_dir, "captions.jsonl")


class WrongLineError(Exception):
    """A problem in a line. `place` is its column, or the field whose value is wrong."""

    def __init__(self, place: int | str, message: str):
        super().__init__(message)
        self.place = place


def _entries(path: str, findings: Findings) -> Iterator[Entry]:
    folder = ImageFolder(posixpath.dirname(path))
    line_of: dict[tuple[str, int | str | None], int] = {}
    with_ids = None
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = parse_line(line)
            with_ids = "id" in fields if with_ids is None else with_ids
            entry = _entry(fields, f"{path}:{number}", number, folder, with_ids)
            for key, value in (("image", entry.path), ("id", entry.image_id)):
                first = line_of.setdefault((key, value), number)
                if first != number:
                    raise WrongLineError(
                        key, f'"{key}": {shown(fields[key])} is in line {first} too'
                    )
        except WrongLineError as error:
            findings.problem(f"{path}:{number}:{column_of(line, error.place)}", str(error))
        else:
            yield entry
    folder.report(findings)
    folder.note_unlisted(findings)


class _Fields(dict[str, Any]):
    """The object in a line. `repeated` is a key that the line has twice."""

    repeated: str | None = None


def _fields(pairs: list[tuple[str, Any]]) -> _Fields:
    fields = _Fields(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        fields.repeated = next(key for key in keys if keys.count(key) > 1)
    return fields


def parse_line(line: str) -> _Fields:
    """Return the object in a line.

    Raises:
        WrongLineError: The line holds no object, or a field of it comes twice.
    """
    try:
        fields = json.loads(line, object_pairs_hook=_fields)
    except json.JSONDecodeError as error:
        raise WrongLineError(error.colno, f"damaged JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # A number of 5,000 digits, or deep nesting.
        raise WrongLineError(1, f"damaged JSON: {error}") from None
    if not isinstance(fields, _Fields):
        raise WrongLineError(1, f"expected an object, found {shown(fields)}")
    if fields.repeated:
        raise WrongLineError(fields.repeated, f"{shown(fields.repeated)} comes twice")
    return fields


def _entry(fields: _Fields, place: str, number: int, folder: ImageFolder, with_ids: bool) -> Entry:
    """Check a line and return its image.

    Args:
        fields: The fields of the line.
        place: The file and the line.
        number: The line.
        folder: The folder of the list.
        with_ids: Whether lines must have an id.
    """
    _check_keys(fields, with_ids)
    split, image_id = fields.get("split"), fields.get("id", number)
    if "split" in fields and (not isinstance(split, str) or split_of(split) is None):
        raise WrongLineError(
            "split", f'"split" must be one of {", ".join(SPLITS)}, found {shown(split)}'
        )
    if not is_int64(image_id):
        raise WrongLineError("id", f'"id" must be an integer, found {shown(image_id)}')
    name = fields["image"]
    if not isinstance(name, str):
        raise WrongLineError("image", f'"image" must be a string, found {shown(name)}')
    located = folder.locate(name, place)
    if located is None:
        raise WrongLineError("image", f'"image" {folder.outside(name)}')
    located_name, path = located
    if posixpath.normpath(name) == located_name:
        located_name = name  # Records keep the list's own spelling.
    return Entry(located_name, path, _captions(fields["captions"]), place, split, image_id)


def _check_keys(fields: _Fields, with_ids: bool) -> None:
    for key in fields:
        if key not in _KEYS:
            raise WrongLineError(
                key, f"unknown field {shown(key)}; the fields are {', '.join(_KEYS)}"
            )
    for key in ("image", "captions"):
        if key not in fields:
            raise WrongLineError(1, f'"{key}" is missing')
    if ("id" in fields) != with_ids:
        raise WrongLineError(
            "id" if "id" in fields else 1,
            f'"id" is {"missing" if with_ids else "present"}, unlike in the lines before: all lines'
            " must have one, or none",
        )


def _captions(captions: Any) -> tuple[str, ...]:
    if not isinstance(captions, list):
        raise WrongLineError("captions", f'"captions" must be a list, found {shown(captions)}')
    for index, text in enumerate(captions):
        if not isinstance(text, str):
            raise WrongLineError(
                "captions", f'"captions"[{index}] must be a string, found {shown(text)}'
            )
    return tuple(captions)


def column_of(line: str, place: int | str) -> int:
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
