"""What a source lists of one split, before anything is left out."""

import posixpath
from typing import NamedTuple

from cli.errors import UserError
from pipeline.storage import files


class Caption(NamedTuple):
    """A caption as annotated. `caption_id` is the data set's own."""

    caption_id: int | str
    text: str


class ListedImage(NamedTuple):
    """An image as listed.

    Attributes:
        image_id: The data set's own id, an int64.
        file_name: As in the annotation file.
        path: Where its file must lie; None when the name leads out of the image folder.
        captions: In the file's order.
    """

    image_id: int
    file_name: str
    path: str | None
    captions: tuple[Caption, ...]


class Listing(NamedTuple):
    """One split as its source lists it.

    Attributes:
        images: The images in the file's order; an id may come twice.
        strays: (image id, caption) of captions whose image is not listed.
    """

    images: tuple[ListedImage, ...]
    strays: tuple[tuple[int, Caption], ...] = ()


def text_of(path: str) -> str:
    """Return the text of an annotation file.

    Raises:
        UserError: The file is missing, unreadable or not UTF-8.
    """
    content = files.read(path)
    if content is None:
        raise UserError(f"{path}: no such file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from None


def clean(text: str) -> str:
    r"""Return `text` with each lone half of a surrogate pair replaced by U+FFFD.

    JSON can spell such a half (`\ud83d`), UTF-8 cannot. All other text stays as it is.
    """
    if text.isascii():  # Most text is, and this is a hundred times faster.
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def confined(folder: str, file_name: str) -> str | None:
    """Return the path of `file_name` in `folder`; None when it leads out or names no file."""
    name = posixpath.normpath(file_name)
    if not file_name or "\0" in name or name in (".", "..") or name.startswith(("/", "../")):
        return None
    return posixpath.join(folder, name)
