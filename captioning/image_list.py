"""Many image files as a source, sorted on disk and not in memory."""

import hashlib
import heapq
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from captioning.parts import unwritable
from captioning.source import Part, SourceImage

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
