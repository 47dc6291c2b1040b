"""Many image files as a source: folders, globs and lists, sorted on disk and not in memory."""

import glob
import hashlib
import heapq
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from captioning.parts import unwritable
from captioning.source import Part, SourceImage
from cli.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
# How many lines are sorted in memory; more lines become a merge of sorted files.
_SORTED_TOGETHER = 200_000


class Entry(NamedTuple):
    """A file to caption, with its image id where it has one."""

    path: str
    image_id: int | None = None


class ImageList:
    """Files in the order of their paths, each once; a source of images (`source.ImageSource`).

    The list lies in a nameless file. An image is known by its path, id and size: a file that is
    replaced by another of exactly the same size counts as captioned.

    Args:
        entries: The files in any order; one may come twice.
        part_images: The number of images in a part.
        folder: A folder with room for the list.

    Attributes:
        parts: All parts.
        images: The number of files.

    Raises:
        UserError: The list cannot be written.
    """

    may_reject = True

    def __init__(self, entries: Iterable[Entry], part_images: int, folder: str):
        self.parts: list[Part] = []
        self.images = 0
        try:
            os.makedirs(folder, exist_ok=True)
            self._file = _nameless(folder)
            self._write(_sorted(map(_line, entries), folder), part_images)
        except OSError as error:
            raise unwritable(folder, error) from None

    def _write(self, lines: Iterator[bytes], part_images: int) -> None:
        start, digest, count = 0, hashlib.sha256(), 0

        def end_part() -> None:
            nonlocal start, digest, count
            if count:
                place = (start, self._file.tell() - start)
                self.parts.append(Part(len(self.parts), count, digest.hexdigest(), place))
            self.images += count
            start, digest, count = self._file.tell(), hashlib.sha256(), 0

        before = None
        for line in lines:
            if line != before:
                self._file.write(line)
                digest.update(line)
                count, before = count + 1, line
                if count == part_images:
                    end_part()
        end_part()
        self._file.flush()

    def read(self, part: Part) -> Iterator[SourceImage]:
        """Yield the images of a part."""
        start, size = part.place
        for line in os.pread(self._file.fileno(), size, start).splitlines():
            path, image_id, _ = json.loads(line)
            yield SourceImage(path, image_id)

    def holds_features(self, *_: object) -> bool:
        """Tell that files come without features."""
        return False


def open_images(sources: Sequence[str]) -> Iterator[Entry]:
    """Yield the images that --images names.

    Args:
        sources: Folders (with all folders inside), globs, .jsonl lists, or image files.

    Yields:
        The files.

    Raises:
        UserError: A source does not exist, holds no image, or is a damaged list.
    """
    for source in sources:
        if os.path.isdir(source):
            entries = _in_folder(source)
        elif source.endswith(".jsonl"):
            entries = _in_list(source)
        elif os.path.isfile(source):
            entries = iter([Entry(source)])
        else:
            entries = map(Entry, filter(os.path.isfile, glob.iglob(source, recursive=True)))
        first = next(entries, None)
        if first is None:
            raise UserError(
                f"--images={source}: found no image; expected a folder with files that end in"
                f" {' '.join(EXTENSIONS)}, a glob such as 'photos/**/*.jpg' in quotes, or a .jsonl"
                ' list with lines such as {"image": "a.jpg"}'
            )
        yield first
        yield from entries


def _in_folder(folder: str) -> Iterator[Entry]:
    """Yield image files, hidden ones left out, in no order; the names are never all in memory."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.name.lower().endswith(EXTENSIONS):
                        yield Entry(entry.path)
        except OSError as error:
            raise UserError(
                f"{error.filename}: cannot be listed: {error.strerror or error}"
            ) from None


def _in_list(path: str) -> Iterator[Entry]:
    folder = os.path.dirname(path)
    try:
        with open(path, "rb") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield _listed(text, f"{path}:{number}", folder)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _listed(text: bytes, where: str, folder: str) -> Entry:
    try:
        value = json.loads(text)
        image, image_id = value["image"], value.get("id")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        image = image_id = None
    whole = image_id is None or (isinstance(image_id, int) and not isinstance(image_id, bool))
    if not isinstance(image, str) or not image or "\0" in image or not whole:
        raise UserError(
            f'{where}: expected {{"image": "a.jpg"}}, perhaps with "id": 7, found'
            f" {text.strip()[:80].decode(errors='replace')!r}"
        )
    return Entry(os.path.join(folder, image), image_id)


def _line(entry: Entry) -> bytes:
    try:
        size = os.path.getsize(entry.path)
    except OSError:
        size = None  # the error is reported when the file is read
    return (json.dumps([entry.path, entry.image_id, size]) + "\n").encode("ascii")


def _sorted(lines: Iterator[bytes], folder: str) -> Iterator[bytes]:
    """Yield lines in order: sorted in memory some at a time, and merged from nameless files."""
    runs: list[BinaryIO] = []
    chunk: list[bytes] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == _SORTED_TOGETHER:
            runs.append(_nameless(folder))
            runs[-1].writelines(sorted(chunk))
            runs[-1].seek(0)
            chunk = []
    return heapq.merge(*runs, sorted(chunk))


def _nameless(folder: str) -> BinaryIO:
    """Make a file that vanishes with its process, however that ends."""
    return tempfile.TemporaryFile(dir=folder)
