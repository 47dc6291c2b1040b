"""What the columns of a table are: which names the images, which hold captions, which the splits.

The first row names the columns, unless a cell of it is the name of an image: then there is no
header, and the columns have numbers only.
"""

import re
from typing import NamedTuple

from cli.errors import UserError
from pipeline.datasets.own.entries import split_of
from pipeline.datasets.own.image_names import is_image

# Column names that are understood, without spaces and signs, in lower case. Of several in one
# table, those of the first set that has any count.
_IMAGE = (
    {"filename"},
    {"image", "imagename", "imagefile", "imagefilename", "imagepath", "imgpath"}
    | {"filepath", "path", "file", "img", "photo", "picture"},
    {"imageid", "imgid"},
)
_CAPTION = ({"caption", "captions", "text", "texts"}, {"comment", "description", "sentence", "raw"})
_SPLIT = ({"split", "subset", "partition"},)
_NUMBERED_CAPTION = re.compile(r"(caption|text|comment|description|sentence)s?\d+")
_NUMBER = re.compile(r"[\d.,-]*")


class Asked(NamedTuple):
    """The columns that the user names; None for those to be found."""

    image: str | None = None
    caption: str | None = None
    split: str | None = None


class Columns(NamedTuple):
    """Places of the columns, from 0; `split` is None when there is none."""

    image: int
    captions: tuple[int, ...]
    split: int | None


def is_header(first: list[str]) -> bool:
    """Return whether the first row names the columns: no cell of it is the name of an image."""
    return not any(map(is_image, first))


def names_images(first: list[str]) -> bool:
    """Return whether a table with this first row has a column of images and another one."""
    return len(first) > 1 and (not is_header(first) or bool(_named(first, _IMAGE)))


def find(path: str, first: list[str], asked: Asked) -> tuple[list[str], Columns]:
    """Return the names of the columns, and what they are.

    Args:
        path: The file, for messages.
        first: The first row.
        asked: Columns that the user names.

    Raises:
        UserError: A column that the user names is missing, or it is not clear which column is
            which; the message lists the columns.
    """
    if is_header(first):
        names, shown = first, ", ".join(first)
        images, captions, splits = (_named(names, known) for known in (_IMAGE, _CAPTION, _SPLIT))
        numbered = [i for i, name in enumerate(names) if _NUMBERED_CAPTION.fullmatch(_plain(name))]
        if numbered and len(captions) < 2:
            captions = numbered = sorted(captions + numbered)
    else:
        names = [str(number) for number in range(1, len(first) + 1)]
        shown = f"without names: {' | '.join(first)[:200]}"
        images = [i for i, cell in enumerate(first) if is_image(cell)]
        splits = [i for i, cell in enumerate(first) if split_of(cell)]
        captions = [i for i, cell in enumerate(first) if not _NUMBER.fullmatch(cell)]
        captions = [i for i in captions if i not in images + splits]
        numbered = []
    if asked.image:
        images = [_asked(path, names, asked.image, "image_column")]
    if asked.caption:
        parts = [asked.caption] if asked.caption in names else asked.caption.split(",")
        captions = numbered = [_asked(path, names, part, "caption_column") for part in parts]
    if asked.split:
        splits = [_asked(path, names, asked.split, "split_column")]
    for what, flag, unclear in (
        ("names the images", "image_column", len(images) != 1),
        ("holds the captions", "caption_column", len(captions) != 1 and captions != numbered),
        ("holds the captions", "caption_column", not captions),
        ("tells the splits", "split_column", len(splits) > 1),
    ):
        if unclear:
            raise UserError(f"{path}: which column {what}? --{flag} says it; the columns: {shown}")
    return names, Columns(images[0], tuple(captions), splits[0] if splits else None)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _named(names: list[str], known: tuple[set[str], ...]) -> list[int]:
    """Return the columns with a name of the first of these sets that has any."""
    for understood in known:
        if columns := [i for i, name in enumerate(names) if _plain(name) in understood]:
            return columns
    return []


def _asked(path: str, names: list[str], asked: str, flag: str) -> int:
    """Return the column that a flag names, by its name or its number."""
    asked = asked.strip()
    columns = [i for i, name in enumerate(names) if name == asked] or [
        i for i, name in enumerate(names) if _plain(name) == _plain(asked)
    ]
    if not columns and asked.isdecimal() and 1 <= int(asked) <= len(names):
        columns = [int(asked) - 1]
    if len(columns) != 1:
        problem = "several columns have this name" if columns else "no such column"
        raise UserError(
            f"{path}: --{flag}={asked}: {problem}; the columns are {', '.join(names)}, and their"
            f" numbers are 1 to {len(names)}"
        )
    return columns[0]
