"""The image files that a flag names: in folders, globs and lists."""

import glob
import json
import os
from collections import Counter
from collections.abc import Iterator

from captioning.image_list import Entry
from cli import paths
from cli.errors import UserError
from cli.process_lock import LOCK
from pixels.formats import SUFFIXES

_LIST = ".jsonl"
# Kinds of skipped files that are told apart in the line about them.
_KINDS = 8
_KIND_LENGTH = 12
# What an evaluation keeps in its folder.
_OWN = (LOCK, "parts", "captions.jsonl", "rejected.jsonl")


class NamedImages:
    """The image files that a flag names; iterate once.

    Of a folder all folders inside are searched, linked ones too, each once. What is passed over is
    counted. Names are never all in memory.

    Args:
        text: Folders, globs, .jsonl lists and image files, separated by commas.
        output_dir: Folder that the results go to; what the job itself keeps there is not counted.
        flag: The name of the flag, for messages.

    Attributes:
        skipped: What was passed over until now: kind -> how many.
        problems: Why folders could not be searched, a line for each.
    """

    def __init__(self, text: str, output_dir: str = "", flag: str = "images"):
        self._text, self._flag = text, flag
        self._output_dir = os.path.realpath(output_dir) if output_dir else None
        self.skipped: Counter[str] = Counter()
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Entry]:
        """Yield the files.

        Raises:
            UserError: A source does not exist, holds no image, or is a damaged list.
        """
        for source in paths.split(self._text):
            skipped_before, entries = self.skipped.copy(), self._in_source(source)
            first = next(entries, None)
            if first is None:
                raise UserError(self._nothing(source, self.skipped - skipped_before))
            yield first
            yield from entries

    def remark(self) -> str:
        """Return what was passed over, as `skipped: 3 .txt, 1 .mov`; "" for nothing."""
        return _counted(self.skipped)

    def _in_source(self, source: str) -> Iterator[Entry]:
        if os.path.isdir(source):
            return self._in_folder(source)
        if os.path.isfile(source):
            in_list = source.lower().endswith(_LIST)
            return _in_list(source) if in_list else iter([Entry(source)])
        return self._in_glob(source)

    def _nothing(self, source: str, skipped: Counter[str]) -> str:
        if not os.path.lexists(source) and not glob.has_magic(source):
            of_several = (
                f", and --{self._flag}={self._text} as a whole is no path, so it was split at"
                " commas"
                if "," in self._text
                else ""
            )
            what = f"no such file or folder{of_several}{paths.suggest(source)}"
        else:
            what = ", ".join(filter(None, ["found no image", _counted(skipped), *self.problems]))
        return (
            f"--{self._flag}={source}: {what}; expected a folder with files that end in"
            f" {' '.join(SUFFIXES)}, a glob such as 'photos/**/*.jpg' in quotes, or a .jsonl"
            ' list with lines such as {"image": "a.jpg"}'
        )

    def _in_folder(self, folder: str) -> Iterator[Entry]:
        """Yield the image files of a folder in no order.

        Links are followed after all other folders and in the order of their names. So a folder with
        several names always has the same one, and a circle ends.
        """
        seen: set[tuple[int, int]] = set()
        waiting, links = [folder], list[str]()
        while waiting or links:
            if not waiting:
                links.sort(reverse=True)
                waiting.append(links.pop())
            path = waiting.pop()
            try:
                status = os.stat(path)
                if (status.st_dev, status.st_ino) in seen:
                    self.skipped["linked folder that is searched already"] += 1
                    continue
                seen.add((status.st_dev, status.st_ino))
                own = _OWN if os.path.realpath(path) == self._output_dir else ()
                with os.scandir(path) as entries:
                    for entry in entries:
                        if entry.name in own:
                            continue
                        if self._is_folder(entry):
                            (links if entry.is_symlink() else waiting).append(entry.path)
                        elif self._is_image(entry):
                            yield Entry(entry.path)
            except OSError as error:
                self.problems.append(f"{path}: cannot be searched: {error.strerror or error}")

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_dir():
            return False
        if entry.name.startswith("."):
            self.skipped["hidden folder"] += 1
            return False
        return True

    def _is_image(self, entry: os.DirEntry[str]) -> bool:
        """Return whether to caption a file; count it if not."""
        if entry.is_dir():
            return False
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith("."):
            kind = "hidden file"
        elif entry.is_symlink() and not os.path.exists(entry.path) and suffix not in SUFFIXES:
            kind = "broken link"
        elif not entry.is_file() and not entry.is_symlink():
            kind = "special file"
        elif suffix in SUFFIXES:
            return True  # A broken link, too: it is reported when it is read.
        else:
            plain = suffix.isascii() and suffix.isprintable() and len(suffix) <= _KIND_LENGTH
            kind = (suffix if plain else "of another kind") or "without a suffix"
        self.skipped[kind] += 1
        return False

    def _in_glob(self, pattern: str) -> Iterator[Entry]:
        for path in glob.iglob(_with_literal_folders(pattern), recursive=True):
            if os.path.isfile(path):
                yield Entry(path)
            elif os.path.isdir(path):
                # With ** a folder is matched beside all that is in it.
                self.skipped["folder"] += "**" not in pattern
            else:
                self.skipped["broken link" if os.path.islink(path) else "special file"] += 1


def _counted(skipped: Counter[str]) -> str:
    kinds = skipped.most_common()
    counts = [f"{count:,} {kind}" for kind, count in kinds[:_KINDS] if count]
    if others := sum(count for _, count in kinds[_KINDS:]):
        counts.append(f"{others:,} of other kinds")
    return f"skipped: {', '.join(counts)}" if counts else ""


def _with_literal_folders(pattern: str) -> str:
    """Escape the folders at the start of a glob that exist under just that name, as `lr[1e-3]`."""
    names = pattern.split("/")
    for count in range(len(names) - 1, 0, -1):
        folder = "/".join(names[:count])
        if os.path.isdir(folder):
            return "/".join([glob.escape(folder), *names[count:]])
    return pattern


def _in_list(path: str) -> Iterator[Entry]:
    folder = os.path.dirname(path)
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield _listed(text, f"{path}:{number}", folder)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _listed(text: str, where: str, folder: str) -> Entry:
    try:
        value = json.loads(text)
        image, image_id = value["image"], value.get("id")
        os.fsencode(image)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        image = image_id = None
    is_whole = image_id is None or (isinstance(image_id, int) and not isinstance(image_id, bool))
    if not isinstance(image, str) or not image or "\0" in image or not is_whole:
        raise UserError(
            f'{where}: expected {{"image": "a.jpg"}} in UTF-8, perhaps with "id": 7, found'
            f" {text.strip()[:80]!r}"
        )
    return Entry(os.path.join(folder, os.path.expanduser(image)), image_id)
