"""Parquet files with images in them, as the Hugging Face hub keeps data sets.

data_dir/data/train-00000-of-00002.parquet     with the columns image and caption

An image is an object {"bytes": ..., "path": ...}, or bytes alone, or a path relative to the file. A
caption is a text or a list of texts. Folders (train/, validation/) or names (train-00000.parquet)
say the splits, or a column does.

A row can only be reached through the rows before it. Shards therefore take runs of rows, and row
groups, not images, are shuffled.
"""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from cli.errors import UserError
from pipeline.datasets.fields import shown
from pipeline.datasets.listing import Listing, clean, confined
from pipeline.datasets.options import FRACTIONS, SourceOptions
from pipeline.datasets.own.entries import Entry, EntrySource, split_of
from pipeline.datasets.own.findings import Findings
from pipeline.datasets.own.shards import shard_names
from pipeline.datasets.own.shards.parquet_columns import Columns, columns
from pipeline.datasets.own.shards.row_groups import ImageReader, ParquetFile, Row
from pipeline.datasets.own.shards.shard_names import ShardFile
from pipeline.datasets.source import ImageVersion
from records import hashes

_SUFFIXES = (".parquet",)


class Parquet(EntrySource):
    """Images and captions in the rows of Parquet files."""

    reads: tuple[str, ...] = (*FRACTIONS, "image_column", "caption_column", "split_column")

    def __init__(self, options: SourceOptions):
        """Keep the options; nothing is read."""
        super().__init__(options)
        self._reader = ImageReader(lambda file: columns(file.schema, options, file.path).image)

    def __reduce__(self) -> tuple[type, tuple[SourceOptions]]:
        """Travel to a worker without an open file."""
        return type(self), (self._options,)

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if it has Parquet files with images."""
        for shard in _shards(data_dir, Findings())[:1]:
            try:
                file = ParquetFile(shard.path)
                found = columns(file.schema, self._options, shard.path)
                file.close()
            except UserError:
                return None
            return f"{shard.path}, Parquet with {found}"
        return None

    def entries(self, data_dir: str, findings: Findings) -> Iterator[Entry]:
        """Yield the images and captions of every row; `EntrySource.entries` says more."""
        shards = _shards(data_dir, findings)
        findings.check()
        if not shards:
            raise UserError(
                f"{data_dir}: no file that ends in .parquet lies there, nor in data/, train/, val/"
                " or test/"
            )
        rows = [row for shard in shards for row in _rows(shard, self._options, findings)]
        return _entries(rows, self.read_image, findings)

    def read(self, data_dir: str, split: str) -> Listing:
        """List the images and captions of one split; images of a row group are one group."""
        listing = super().read(data_dir, split)
        images = []
        for image in listing.images:
            row = Row.parse(image.path or "")
            group = row and f"{row.file.removeprefix(data_dir)}#{row.group}"
            images.append(image._replace(group=group))
        return listing._replace(images=tuple(images))

    def image_version(self, path: str) -> ImageVersion | None:
        """Return the version of the file with an image's row, or of the image's own file."""
        row = Row.parse(path)
        return ImageVersion(label=row.version) if row else super().image_version(path)

    def read_image(self, path: str) -> bytes | None:
        """Return the image of a row, or of its own file; None when there is none."""
        row = Row.parse(path)
        if row is None:
            return super().read_image(path)
        value = self._reader.value(row)
        content: bytes | None = value.get("bytes") if isinstance(value, dict) else value
        if content is None and isinstance(value, dict):
            beside = _beside(row.file, value.get("path"))
            return super().read_image(beside) if beside else None
        return content


class _ListedRow(NamedTuple):
    """A row as it is listed, without its image.

    Attributes:
        row: Its place; None when its image is the file `path`.
        path: What the row says of the image's path.
        folder: The folder of the Parquet file.
        default_name: The name of an image that has no path: its file and the number of the row.
        captions: Its captions.
        place: Its place for messages.
        split: Its split as the column, the file or the folder names it.
    """

    row: Row | None
    path: str | None
    folder: str
    default_name: str
    captions: tuple[str, ...]
    place: str
    split: str | None


def _shards(data_dir: str, findings: Findings) -> list[ShardFile]:
    """Return the Parquet files, without those that describe a folder of images."""
    shards = shard_names.find(data_dir, _SUFFIXES, findings)
    return [shard for shard in shards if posixpath.basename(shard.name) != "metadata.parquet"]


def _rows(shard: ShardFile, options: SourceOptions, findings: Findings) -> Iterator[_ListedRow]:
    file = ParquetFile(shard.path)
    found = columns(file.schema, options, shard.path)
    findings.remark(str(found))
    stem, _ = posixpath.splitext(shard.name)
    number = 0
    for group in range(len(file.group_rows)):
        # Objects without any bytes name files.
        is_file = found.kind == "path" or (
            found.kind == "object" and file.is_null(group, f"{found.image}.bytes")
        )
        for in_group, row in enumerate(file.rows(group, _listed_columns(file.schema, found))):
            path = _path(row.get(found.image))
            place = None if is_file and path else Row(shard.path, group, in_group, file.version)
            captions = tuple(text for column in found.captions for text in column.texts(row))
            yield _ListedRow(
                place,
                path,
                posixpath.dirname(shard.path),
                f"{stem}/{number:06}",
                captions,
                f"{shard.path}: row {number:,}",
                _split(shard, found, row, options),
            )
            number += 1
    file.close()


def _listed_columns(schema: pa.Schema, found: Columns) -> list[str]:
    """Return the columns that a listing reads: not the images."""
    names = {column.name for column in (*found.captions, *filter(None, [found.split]))}
    if found.kind == "path":
        names.add(found.image)
    elif found.kind == "object" and schema.field(found.image).type.get_field_index("path") >= 0:
        names.add(f"{found.image}.path")
    return sorted(names)


def _path(value: Any) -> str | None:
    """Return the path in a value of the image column, without its bytes."""
    path = value.get("path") if isinstance(value, dict) else value
    return path if isinstance(path, str) and path else None


def _split(
    shard: ShardFile, found: Columns, row: dict[str, Any], options: SourceOptions
) -> str | None:
    """Return the split of a row as its column says it, else as its file does."""
    name = next(found.split.texts(row), None) if found.split else None
    # A column that was found, not named, may be about something else.
    if name is not None and (options.split_column or split_of(name)):
        return name
    return shard.split


def _entries(
    rows: Sequence[_ListedRow], read_image: Callable[[str], bytes | None], findings: Findings
) -> Iterator[Entry]:
    """Yield the entries of rows.

    Rows with one path are one image if they have the same bytes. Else the path says little, and
    the later ones have the names of their rows.

    Args:
        rows: All rows of the data set.
        read_image: Reads the image at an entry's path.
        findings: Takes rows that name a file elsewhere.
    """
    names = [row.path and confined("", clean(row.path)) for row in rows]
    counts = Counter(names)
    images: dict[tuple[str, str], tuple[str, str]] = {}
    contents: dict[str, set[str]] = defaultdict(set)
    for row, name in zip(rows, names, strict=True):
        if row.row is None:
            if name is None:
                findings.problem(
                    row.place, f"the image must lie in {row.folder}, found {shown(row.path)}"
                )
                continue
            path = posixpath.join(row.folder, name)
        else:
            name, path = name or row.default_name, str(row.row)
            if counts[name] > 1:
                content = hashes.content_hash(read_image(path) or path.encode())
                unused = name if not contents[name] else row.default_name
                contents[name].add(content)
                name, path = images.setdefault((name, content), (unused, path))
        yield Entry(name, path, row.captions, row.place, row.split)


def _beside(file: str, name: Any) -> str | None:
    """Return the path of an image that a row names; None when it leads away from the file."""
    return confined(posixpath.dirname(file), name) if isinstance(name, str) else None
