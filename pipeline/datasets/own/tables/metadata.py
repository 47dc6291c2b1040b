"""metadata.jsonl, metadata.csv and metadata.parquet: captions of the images in a folder.

    {"file_name": "1.jpg", "text": "a dog runs"}

`file_name` is relative to the folder of the metadata. The captions are in `text`, `caption` or
another column that is understood (`pipeline/datasets/own/tables/columns.py`): one text, or a list.
"""

import io
import posixpath
from collections.abc import Iterator
from typing import Any, NamedTuple

from cli.errors import UserError
from pipeline.datasets.fields import shown
from pipeline.datasets.listing import text_of
from pipeline.datasets.own.findings import Findings
from pipeline.datasets.own.jsonl import WrongLineError, column_of, parse_line
from pipeline.datasets.own.tables import columns, table
from pipeline.datasets.own.tables.columns import Asked
from pipeline.datasets.own.tables.delimited import captions_of, whole_rows
from pipeline.storage import files

NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


class Line(NamedTuple):
    """An image that the metadata name: its file, captions and split, and the place of all this."""

    file_name: str
    captions: tuple[str, ...]
    split: str | None
    place: str


def read(path: str, asked: Asked, findings: Findings) -> Iterator[Line]:
    """Yield the images that a metadata file names.

    Args:
        path: A file with one of `NAMES`.
        asked: The columns that the user names.
        findings: Takes the problems of lines.

    Raises:
        UserError: The file cannot be read, or its columns are not clear.
    """
    readers = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
    return readers[posixpath.splitext(path)[1]](path, asked, findings)


def _csv(path: str, asked: Asked, findings: Findings) -> Iterator[Line]:
    content = table.read(path, ",;\t", asked)
    image, captions, split = content.columns
    for row in whole_rows(content, findings):
        yield Line(
            row.cells[image],
            captions_of(row, captions),
            None if split is None else row.cells[split],
            content.place(row, image),
        )


def _json_lines(path: str, asked: Asked, findings: Findings) -> Iterator[Line]:
    found: tuple[list[str], columns.Columns] | None = None
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = parse_line(line)
            found = found or columns.find(f"{path}:{number}", list(fields), asked)
            read_line = _line(fields, *found, f"{path}:{number}:1")
        except WrongLineError as error:
            findings.problem(f"{path}:{number}:{column_of(line, error.place)}", str(error))
        else:
            yield read_line


def _parquet(path: str, asked: Asked, findings: Findings) -> Iterator[Line]:
    import pyarrow as pa
    from pyarrow import parquet

    content = files.read(path)
    try:
        file = parquet.ParquetFile(io.BytesIO(content or b""))
        names, found = columns.find(path, file.schema_arrow.names, asked)
        used = [names[i] for i in (found.image, *found.captions, found.split) if i is not None]
        number = 0
        for batch in file.iter_batches(columns=used):
            for fields in batch.to_pylist():
                number += 1
                try:
                    read_line = _line(fields, names, found, f"{path}: row {number}")
                except WrongLineError as error:
                    findings.problem(f"{path}: row {number}", str(error))
                else:
                    yield read_line
    except (pa.ArrowException, OSError) as error:
        message = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: damaged Parquet file, perhaps cut short: {message}") from None


def _line(fields: dict[str, Any], names: list[str], found: columns.Columns, place: str) -> Line:
    """Return what the fields of a line say.

    Raises:
        WrongLineError: A field is missing or has another type.
    """
    image, split = names[found.image], None
    file_name = fields.get(image)
    if not isinstance(file_name, str):
        raise _wrong(fields, image, "a string")
    texts: list[str] = []
    for key in (names[index] for index in found.captions):
        value = fields.get(key)
        values = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(text, str) for text in values):
            raise _wrong(fields, key, "a string or a list of strings")
        texts += values
    if found.split is not None:
        split = fields.get(names[found.split])
        if not isinstance(split, str):
            raise _wrong(fields, names[found.split], "a string")
    return Line(file_name, tuple(texts), split, place)


def _wrong(fields: dict[str, Any], key: str, expected: str) -> WrongLineError:
    if key not in fields:
        return WrongLineError(1, f'"{key}" is missing')
    return WrongLineError(key, f'"{key}" must be {expected}, found {shown(fields[key])}')
