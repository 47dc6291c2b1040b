"""What a source lists of one split, before anything is left out."""

import codecs
import gzip
import io
import posixpath
import zlib
from typing import NamedTuple

from cli.errors import UserError
from pipeline.storage import files

# COCO's largest file of captions has 92 MB.
_MAX_UNPACKED_BYTES = 2 << 30
_BEGINNING_BYTES = 16_384
_CONVERT = "`iconv -f {} -t UTF-8 {} > NEW` converts it"


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
        group: Images of one group, such as a row group, are read together and in the order in
            which they are listed; None where each can be read alone.
    """

    image_id: int
    file_name: str
    path: str | None
    captions: tuple[Caption, ...]
    group: str | None = None


class Listing(NamedTuple):
    """One split as its source lists it.

    Attributes:
        images: The images in the file's order; an id may come twice.
        strays: (image id, caption) of captions whose image is not listed.
    """

    images: tuple[ListedImage, ...]
    strays: tuple[tuple[int, Caption], ...] = ()

    @property
    def in_groups(self) -> bool:
        """Whether images are read in groups."""
        return any(image.group is not None for image in self.images)


def text_of(path: str) -> str:
    """Return the text of an annotation file; one whose name ends in .gz is unpacked.

    Raises:
        UserError: The file is missing, unreadable, damaged or not UTF-8.
    """
    content = files.read(path)
    if content is None:
        raise UserError(f"{path}: no such file")
    if path.endswith(".gz"):
        content = _unpacked(content, path)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path}: not UTF-8 but UTF-16; {_CONVERT.format('UTF-16', path)}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: not UTF-8 at byte {error.start}, in line {line}; if it comes from Windows:"
            f" {_CONVERT.format('WINDOWS-1252', path)}"
        ) from None


def beginning(path: str) -> str:
    """Return the first few thousand characters of a text; empty when it cannot be read."""
    try:
        with files.open_file(path) as file:
            if not path.endswith(".gz"):
                return file.read(_BEGINNING_BYTES).decode("utf-8-sig", "replace")
            with gzip.GzipFile(fileobj=file) as unpacked:
                return unpacked.read(_BEGINNING_BYTES).decode("utf-8-sig", "replace")
    except (OSError, EOFError, ValueError, zlib.error):
        return ""


def _unpacked(content: bytes, path: str) -> bytes:
    """Return what a gzip file holds, up to a bound."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            text = file.read(_MAX_UNPACKED_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged gzip file, perhaps cut short: {error}") from None
    if len(text) > _MAX_UNPACKED_BYTES:
        raise UserError(f"{path}: holds more than {_MAX_UNPACKED_BYTES >> 30} GiB of text")
    return text


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
