"""CSV and TSV: tables of images and captions, with a row for each caption or for each image.

data_dir/captions.csv                  or data_dir is the path of the table
data_dir/train.csv, val.csv, test.csv  a table for each split
data_dir/Images/a.jpg                  in the folder of the table or in one below it

    image,caption,split
    a.jpg,"A dog, which runs",train

The columns are found by their names: `image`, `file_name`, `filename` and others; `caption`,
`text`, `comment` and others, or `caption_1`, `caption_2` and so on; `split`. A cell may hold a list
of captions in JSON. Kaggle's Flickr8k (captions.txt) and Flickr30k (results.csv) are such tables.
"""

import ast
import itertools
import json
import posixpath
import re
from collections.abc import Iterator

from pipeline.datasets.options import FRACTIONS, PATHS
from pipeline.datasets.own.entries import Entry, EntrySource
from pipeline.datasets.own.findings import Findings
from pipeline.datasets.own.image_names import ImageFolder
from pipeline.datasets.own.lists import SAMPLED, ListFile, image_folder, list_candidates, list_files
from pipeline.datasets.own.tables import table
from pipeline.datasets.own.tables.columns import Asked
from pipeline.datasets.own.tables.table import Row, Table

# The columns of Kaggle's Flickr30k. One row of it lacks its last separator:
# 2199200615.jpg| 4   A dog runs across the grass .
_FLICKR30K = ["image_name", "comment_number", "comment"]
_NUMBER_AND_COMMENT = re.compile(r"(\d+)\s+(\S.*)", re.DOTALL)
# a.jpg#0, as Flickr names the captions of an image.
_CAPTION_NUMBER = re.compile(r"(.+\.\w+)#\d+")


class Csv(EntrySource):
    """A table with commas, or another character, between its columns."""

    reads = (*PATHS, "image_column", "caption_column", "split_column", "separator", *FRACTIONS)
    _kind = "CSV"
    _separators = ",;\t|"
    _endings: tuple[str, ...] = (".csv", ".csv.gz")
    _names: tuple[str, ...] = ("captions.txt",)

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if tables of images and captions are there."""
        separators, asked = self._asked()
        is_table = self._is_table
        paths = [data_dir] if is_table(data_dir) else list_candidates(data_dir, is_table)
        for path in paths:
            if names := table.columns_in(path, separators, asked):
                return f"a {self._kind} with the columns {', '.join(names)} ({path})"
        return None

    def entries(self, data_dir: str, findings: Findings) -> Iterator[Entry]:
        """Yield the images of every row; `EntrySource.entries` says more."""
        separators, asked = self._asked()
        for file in list_files(self._options, data_dir, self._is_table, f"{self._kind} file"):
            yield from _entries(file, table.read(file.path, separators, asked), findings)

    def _asked(self) -> tuple[str, Asked]:
        options = self._options
        columns = Asked(options.image_column, options.caption_column, options.split_column)
        return table.separators_of(options.separator, self._separators), columns

    def _is_table(self, path: str) -> bool:
        name = posixpath.basename(path).lower()
        # A folder of images with metadata.csv is a layout of its own.
        return (name.endswith(self._endings) or name in self._names) and name != "metadata.csv"


class Tsv(Csv):
    """A table with tabs between its columns."""

    _kind = "TSV"
    _separators = "\t"
    _endings = (".tsv", ".tsv.gz", ".tab", ".token")
    _names = ()


def _entries(file: ListFile, content: Table, findings: Findings) -> Iterator[Entry]:
    """Yield the entries of one table."""
    columns = content.columns
    rows = whole_rows(content, findings)
    sample = list(itertools.islice(rows, SAMPLED))
    folder = image_folder(file, [_image_name(row.cells[columns.image]) for row in sample])
    findings.remark(_description(content, folder))
    for row in itertools.chain(sample, rows):
        place = content.place(row, columns.image)
        name = _image_name(row.cells[columns.image])
        located = folder.locate(name, place) if name else None
        if located is None:
            findings.problem(place, f"the image {folder.outside(name)}" if name else "no image")
            continue
        split = file.split
        if columns.split is not None:
            split = row.cells[columns.split]
        yield Entry(
            *located, captions_of(row, columns.captions), place, split, None, file.key(located[0])
        )
    folder.report(findings)
    folder.note_unlisted(findings)


def _description(content: Table, folder: ImageFolder) -> str:
    columns = content.columns
    captions = ", ".join(content.names[index] for index in columns.captions)
    split = "" if columns.split is None else f", splits in {content.names[columns.split]}"
    return (
        f"{content.path}: images in the column {content.names[columns.image]}, captions in"
        f" {captions}{split}; the images lie in {folder.path or '.'}"
    )


def captions_of(row: Row, columns: tuple[int, ...]) -> tuple[str, ...]:
    """Return the captions of a row; of several columns, those that are not empty."""
    texts = [text for index in columns for text in _texts(row.cells[index])]
    return tuple(texts) if len(columns) == 1 else tuple(filter(None, texts))


def _texts(cell: str) -> list[str]:
    """Return the captions in a cell: usually one, or those of a list in JSON or Python."""
    if cell.startswith("[") and cell.endswith("]"):
        for parse in (json.loads, ast.literal_eval):
            try:
                texts = parse(cell)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(texts, list) and texts and all(isinstance(t, str) for t in texts):
                return texts
    return [cell]


def _image_name(cell: str) -> str:
    match = _CAPTION_NUMBER.fullmatch(cell)
    return match[1] if match else cell


def whole_rows(content: Table, findings: Findings) -> Iterator[Row]:
    """Yield the rows with as many cells as there are columns; mend what can be mended."""
    n_columns = len(content.names)
    n_joined = 0
    for row in content.rows:
        if len(row.cells) == n_columns:
            yield row
        elif mended := _mended_flickr30k(row, content, findings):
            yield mended
        elif joined := _joined(row, content):
            if not n_joined:
                first = content.place(row, len(content.names) - 1)
            n_joined += 1
            yield joined
        else:
            findings.problem(
                f"{content.path}:{row.line}:1",
                f"expected {n_columns} columns, found {len(row.cells)}: {row.text.strip()[:60]!r}",
            )
    if n_joined:
        findings.remark(
            f"{first}: {content.separator!r} is part of the caption, which stands without quotes;"
            f" so it is in {n_joined:,} rows"
        )


def _mended_flickr30k(row: Row, content: Table, findings: Findings) -> Row | None:
    """Return the row of Kaggle's Flickr30k that lacks its last separator; None for others."""
    if content.names != _FLICKR30K or len(row.cells) != 2:
        return None
    match = _NUMBER_AND_COMMENT.fullmatch(row.cells[1])
    if not match:
        return None
    findings.remark(
        f"{content.place(row, 1)}: no separator before the comment; taken as {match[2]!r}"
    )
    return row._replace(cells=[row.cells[0], match[1], match[2]])


def _joined(row: Row, content: Table) -> Row | None:
    """Return a row whose caption, in the last column, has separators in it; None for others."""
    last = len(content.names) - 1
    if len(row.cells) <= last or content.columns.captions != (last,) or '"' in row.text:
        return None
    caption = row.text[row.start(last, content.separator) :].strip()
    return row._replace(cells=[*row.cells[:last], caption])
