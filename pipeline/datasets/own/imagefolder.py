"""Folders of images with their captions beside them, as Hugging Face's ImageFolder lays them out.

data_dir/train/metadata.jsonl, .csv or .parquet   file_name and text (or caption)
data_dir/train/1.jpg                              validation/ and test/ likewise

Without such folders the images and their metadata lie in data_dir itself. Without metadata the
captions of 1.jpg are the lines of 1.txt beside it. Folders may be nested.
"""

import itertools
import posixpath
import re
from collections.abc import Iterator, Sequence

from cli.errors import UserError
from pipeline.datasets.listing import clean, text_of
from pipeline.datasets.options import FRACTIONS
from pipeline.datasets.own.entries import Entry, EntrySource, split_of
from pipeline.datasets.own.findings import Findings
from pipeline.datasets.own.image_names import ImageFolder, is_image
from pipeline.datasets.own.image_tree import tree
from pipeline.datasets.own.tables import metadata
from pipeline.datasets.own.tables.columns import Asked
from pipeline.storage import files

_TEXT = ".txt"
# A line of labels, such as a box of an object detector.
_NUMBERS = re.compile(r"[\d.,:;+\-eE\s]*")
# So many folders are looked into to recognise the layout.
_LOOKED_INTO = 20


class ImageFolders(EntrySource):
    """Images with metadata in their folder, or with a text beside each."""

    reads: tuple[str, ...] = ("image_column", "caption_column", "split_column", *FRACTIONS)

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if images with captions beside them do."""
        if not files.is_local(data_dir):
            return None
        folders = ["", *files.names(data_dir)]
        for folder in folders[: _LOOKED_INTO + 1]:
            names = set(files.names(posixpath.join(data_dir, folder)))
            for name in metadata.NAMES:
                if name in names:
                    return f"a folder of images with {posixpath.join(folder, name)}"
            for name in sorted(names):
                if is_image(name) and posixpath.splitext(name)[0] + _TEXT in names:
                    return f"a folder of images with a text beside each ({name})"
        return None

    def entries(self, data_dir: str, findings: Findings) -> Iterator[Entry]:
        """Yield the images that have captions; `EntrySource.entries` says more."""
        names = tree(data_dir, findings)
        lists = [name for name in names if posixpath.basename(name) in metadata.NAMES]
        if lists:
            _check_one_a_folder(data_dir, lists)
            options = self._options
            asked = Asked(options.image_column, options.caption_column, options.split_column)
            entries = _of_metadata(data_dir, lists, asked, findings)
        else:
            entries = _of_texts(data_dir, names, findings)
        with_captions = set()
        for entry in _in_splits(entries, names, findings):
            with_captions.add(entry.name)
            yield entry
        others = [name for name in names if is_image(name) and name not in with_captions]
        remark_on(findings, others, "images have no captions and are left out")


def _of_metadata(
    data_dir: str, lists: Sequence[str], asked: Asked, findings: Findings
) -> Iterator[Entry]:
    for name in lists:
        inner = posixpath.dirname(name)
        folder = ImageFolder(posixpath.join(data_dir, inner) if inner else data_dir)
        for line in metadata.read(posixpath.join(data_dir, name), asked, findings):
            located = folder.locate(line.file_name, line.place)
            if located is None:
                message = f"the image {folder.outside(line.file_name)}"
                findings.problem(line.place, message)
                continue
            file_name, path = located
            yield Entry(
                posixpath.join(inner, file_name), path, line.captions, line.place, line.split
            )
        folder.report(findings)


def _of_texts(data_dir: str, names: Sequence[str], findings: Findings) -> Iterator[Entry]:
    texts = {posixpath.splitext(name)[0]: name for name in names if name.lower().endswith(_TEXT)}
    alone = dict(texts)
    for name in filter(is_image, names):
        stem = posixpath.splitext(name)[0]
        if stem not in texts:
            continue
        alone.pop(stem, None)
        path = posixpath.join(data_dir, texts[stem])
        captions = tuple(
            line.strip() for line in re.split(r"[\r\n]+", text_of(path)) if line.strip()
        )
        if captions and all(map(_NUMBERS.fullmatch, captions)):
            findings.problem(f"{clean(path)}:1:1", f"numbers, not captions: {captions[0][:60]!r}")
        yield Entry(name, posixpath.join(data_dir, name), captions, clean(path))
    remark_on(findings, list(alone.values()), "texts have no image beside them and are left out")


def _in_splits(
    entries: Iterator[Entry], names: Sequence[str], findings: Findings
) -> Iterator[Entry]:
    """Yield the entries with the splits that folders such as train/ tell, if there are any."""
    folders = {name.partition("/")[0] for name in names if "/" in name}
    split_folders = sorted(folder for folder in folders if split_of(folder))
    outside = []
    for entry in entries:
        folder = entry.name.partition("/")[0]
        if entry.split is None and split_folders:
            if folder not in split_folders:
                outside.append(entry.name)
                continue
            entry = entry._replace(split=folder)
        yield entry
    shown = ", ".join(f"{folder}/" for folder in split_folders)
    remark_on(findings, outside, f"images lie outside of {shown} and are left out")


def remark_on(findings: Findings, names: Sequence[str], what: str) -> None:
    """Remark on files that are left out, with the names of a few."""
    if names:
        some = ", ".join(map(clean, names[:3]))
        findings.remark(f"{len(names):,} {what}: {some}{' ...' * (len(names) > 3)}")


def _check_one_a_folder(data_dir: str, lists: Sequence[str]) -> None:
    for inner, group in itertools.groupby(lists, posixpath.dirname):
        names = [posixpath.basename(name) for name in group]
        if len(names) > 1:
            folder = posixpath.join(data_dir, inner) if inner else data_dir
            raise UserError(f"{folder}: expected one of {', '.join(names)}, found all of them")
