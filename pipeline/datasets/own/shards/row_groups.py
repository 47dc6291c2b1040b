"""Parquet files, read a few rows at a time: memory does not grow with a file or its row groups.

A row can only be reached through the rows before it in its row group. `ImageReader` therefore
keeps its place: to read images in the order of their rows costs one pass.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet as pq

from cli.errors import UserError
from pipeline.storage import files
from records import hashes

# Rows with images, and rows with captions, that are decoded at once.
_IMAGE_ROWS = 16
_CAPTION_ROWS = 4096
# Bytes that are read ahead in each column.
_BUFFER_BYTES = 1 << 20
# A footer is held in memory; that of 10,000 row groups with 20 columns has 20 MB.
_MAX_FOOTER_BYTES = 256 << 20
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_PLACE = re.compile(r"(?P<file>.*)#(?P<group>\d+):(?P<row>\d+):(?P<version>[0-9a-f]{16})")


class Row(NamedTuple):
    """Where a row lies.

    Attributes:
        file: Path of the Parquet file.
        group: Its row group.
        row: Its number in the row group.
        version: Changes when the file does.
    """

    file: str
    group: int
    row: int
    version: str

    def __str__(self) -> str:
        """Return the place in a form that `parse` reads."""
        return f"{self.file}#{self.group}:{self.row}:{self.version}"

    @classmethod
    def parse(cls, text: str) -> "Row | None":
        """Return the place that `str` has written; None for another text."""
        match = _PLACE.fullmatch(text)
        if not match:
            return None
        return cls(match["file"], int(match["group"]), int(match["row"]), match["version"])


class ParquetFile:
    """An open Parquet file.

    Attributes:
        path: Its path.
        version: A hash of its footer, which says where everything lies: it changes when the file
            does.
        schema: Its columns.
        group_rows: The number of rows of each row group.
    """

    def __init__(self, path: str):
        """Open a file.

        Raises:
            UserError: It is missing, or no Parquet file, or encrypted, or damaged.
        """
        self.path = path
        self.version = _version(path)
        with _one_line(path):
            # Without a buffer ahead (pre_buffer) a row group is not held whole.
            self._file = pq.ParquetFile(
                files.open_random(path),
                buffer_size=_BUFFER_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
            )
            self._metadata = self._file.metadata
            self.schema: pa.Schema = self._file.schema_arrow
        groups = range(self._metadata.num_row_groups)
        self.group_rows = [self._metadata.row_group(group).num_rows for group in groups]

    def rows(self, group: int, columns: list[str]) -> Iterator[dict[str, Any]]:
        """Yield the rows of a row group: the name of each column -> its value.

        Args:
            group: The row group.
            columns: Columns, or their fields as `column.field`; other ones are not read.

        Raises:
            UserError: They cannot be read.
        """
        for batch in self._batches(group, columns, _CAPTION_ROWS):
            with _one_line(f"{self.path}: row group {group}"):
                rows = batch.to_pylist()
            yield from rows

    def values(self, group: int, column: str, start: int = 0) -> Iterator[Any]:
        """Yield the values of one column of a row group, from the row `start` on.

        Raises:
            UserError: They cannot be read.
        """
        row = 0
        for batch in self._batches(group, [column], _IMAGE_ROWS):
            for value in batch.column(0):
                if row >= start:
                    yield value.as_py()
                row += 1

    def _batches(self, group: int, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        with _one_line(f"{self.path}: row group {group}"):
            yield from self._file.iter_batches(
                rows, row_groups=[group], columns=columns, use_threads=False
            )

    def is_null(self, group: int, column: str) -> bool:
        """Return whether all values of a (nested) column are known to be null in a row group."""
        row_group = self._metadata.row_group(group)
        for chunk in map(row_group.column, range(row_group.num_columns)):
            if chunk.path_in_schema == column:
                statistics = chunk.statistics
                counted = statistics is not None and statistics.has_null_count
                return bool(counted and statistics.null_count == row_group.num_rows)
        return False

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)


class ImageReader:
    """Reads images of one row group after the other; the rows between them are skipped.

    Args:
        column_of: Returns the column of the images of an open file.
    """

    def __init__(self, column_of: Callable[[ParquetFile], str]):
        self._column_of = column_of
        self._file: ParquetFile | None = None
        self._group = self._next = 0
        self._values: Iterator[Any] = iter(())
        self._lock = threading.Lock()

    def value(self, place: Row) -> Any:
        """Return the value of the image column in a row.

        Raises:
            UserError: It cannot be read, or the file has changed since it was listed.
        """
        with self._lock:
            file = self._open(place)
            if place.group != self._group or place.row < self._next:
                self._values = file.values(place.group, self._column_of(file), place.row)
                self._group, self._next = place.group, place.row
            for value in self._values:
                self._next += 1
                if self._next > place.row:
                    return value
        raise UserError(f"{place.file}: row group {place.group} has no row {place.row}")

    def _open(self, place: Row) -> ParquetFile:
        file = self._file
        if file is None or (file.path, file.version) != (place.file, place.version):
            if file is not None:
                file.close()
            self._file = file = ParquetFile(place.file)
            self._group = -1
            if file.version != place.version:
                raise UserError(
                    f"{place.file}: has changed since its rows were listed; run the command again"
                )
        return file


def _version(path: str) -> str:
    size = files.size(path)
    if size is None:
        raise UserError(f"{path}: no such file")
    end = files.read_piece(path, max(0, size - 8), 8)
    if end.endswith(_ENCRYPTED):
        raise UserError(f"{path}: encrypted; decrypt it first")
    if not end.endswith(_MAGIC) or size < 12:
        raise UserError(
            f"{path}: no Parquet file, or one cut short: expected {_MAGIC.decode()} at its end"
        )
    length = int.from_bytes(end[:4], "little")
    if length > min(_MAX_FOOTER_BYTES, size - 12):
        raise UserError(f"{path}: damaged Parquet: a footer of {length:,} bytes")
    footer = files.read_piece(path, size - 8 - length, length)
    return hashes.content_hash(f"{size}/".encode() + footer)


@contextlib.contextmanager
def _one_line(place: str) -> Iterator[None]:
    """Turn what pyarrow raises in the block into a UserError."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        text = " ".join(str(error).split())[:200]
        raise UserError(f"{place}: cannot be read: {text}") from None
