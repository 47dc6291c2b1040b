"""What a build left out and why: the lines of rejected.jsonl."""

import enum
import json
from collections.abc import Iterable, Mapping
from typing import NotRequired, TypedDict


class RejectionReason(enum.StrEnum):
    """Why an image or a caption is left out."""

    MISSING_FILE = "missing_file"
    EMPTY_FILE = "empty_file"
    UNKNOWN_FORMAT = "unknown_format"
    HEIF_NOT_INSTALLED = "heif_not_installed"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_LARGE = "too_large"
    NO_CAPTIONS = "no_captions"
    DUPLICATE_IMAGE_ID = "duplicate_image_id"
    EMPTY_CAPTION = "empty_caption"
    LONG_CAPTION = "long_caption"
    UNKNOWN_IMAGE_ID = "unknown_image_id"


class Rejection(TypedDict):
    """An image that is left out, or one of its captions: a line of rejected.jsonl.

    Attributes:
        split: The split that lists it.
        image_id: The data set's own image id.
        file_name: As in the annotation file; empty for a caption of an image that is not listed.
        caption_id: The caption that is left out; absent when it is the image.
        reason: A `RejectionReason`.
    """

    split: str
    image_id: int
    file_name: str
    caption_id: NotRequired[int | str]
    reason: str


_KEYS = ("split", "image_id", "file_name", "caption_id", "reason")


def to_lines(rejections: Iterable[Rejection]) -> bytes:
    """Return the content of rejected.jsonl, the keys of each line in one order.

    Args:
        rejections: Their keys may be in any order: sidecars sort them.
    """
    return b"".join(_line(rejection) for rejection in rejections)


def _line(rejection: Mapping[str, object]) -> bytes:
    ordered = {key: rejection[key] for key in _KEYS if key in rejection}
    return (json.dumps(ordered, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
