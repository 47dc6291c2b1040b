"""Plain images to caption: folders, globs, lists; of any number, for they are sorted on disk."""

import glob
import hashlib
import heapq
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from captioning.parts import Part, Picture, unwritable
from cli.errors import UserError
from metrics.coco_files import read_images

EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
# Lines that are sorted in memory; more become a merge of sorted files.
_SORTED_TOGETHER = 200_000


class Entry(NamedTuple):
    """A file to caption."""

    path: str
    image_id: int | None = None


class ImageList:
    """Files in the order of their paths, each once, cut into parts.

    The list lies in a nameless file. An image is known by its path, id and size: one that is
    replaced by another of exactly as many bytes is taken for captioned.

    Call arguments:
        entries: in any order; one may come twice.
        part_images: images in a part.
        folder: room for the list.

    Attributes:
        parts: all of them. images: how many there are.
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

        def end_part():
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

    def read(self, part: Part) -> Iterator[Picture]:
        """The images of a part; of any thread."""
        start, size = part.place
        for line in os.pread(self._file.fileno(), size, start).splitlines():
            path, image_id, _ = json.loads(line)
            yield Picture(path, image_id)

    def holds_features(self, *_) -> bool:
        """Files hold none."""
        return False


def open_images(sources: Sequence[str]) -> Iterator[Entry]:
    """The images that --images names.

    Call arguments:
        sources: folders (with all folders in them), globs, .jsonl lists, image files.

    Raises:
        UserError: one is not there, holds no image, or is no list.
    """
    for source in sources:
        if os.path.isdir(source):
            found = _in_folder(source)
        elif source.endswith(".jsonl"):
            found = _in_list(source)
        elif os.path.isfile(source):
            found = iter([Entry(source)])
        else:
            found = map(Entry, filter(os.path.isfile, glob.iglob(source, recursive=True)))
        first = next(found, None)
        if first is None:
            raise UserError(
                f"--images={source}: found no image; expected a folder with files that end in"
                f" {' '.join(EXTENSIONS)}, a glob such as 'photos/**/*.jpg' in quotes, or a .jsonl"
                ' list with lines such as {"image": "a.jpg"}'
            )
        yield first
        yield from found


def open_image_info(path: str, images_dir: str) -> Iterator[Entry]:
    """The images of a COCO image_info file.

    Raises:
        UserError: the file is none, or the folder is missing.
    """
    if not os.path.isdir(images_dir):
        raise UserError(f"--images_dir={images_dir}: no such folder")
    for image_id, file_name in read_images(path).items():
        yield Entry(os.path.join(images_dir, file_name), image_id)


def _in_folder(folder: str) -> Iterator[Entry]:
    """Image files, hidden ones left out, in no order: a folder's names are never all in memory."""
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
        size = None  # said when its turn comes
    return (json.dumps([entry.path, entry.image_id, size]) + "\n").encode("ascii")


def _sorted(lines: Iterator[bytes], folder: str) -> Iterator[bytes]:
    """Lines in order: sorted in memory, some at a time, and merged from nameless files."""
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
    """Gone when its process is, however that ends."""
    return tempfile.TemporaryFile(dir=folder)
