"""Tables of text with a character between the columns: their rows, and the place of each cell."""

import csv
import io
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from cli.errors import UsageError, UserError
from pipeline.datasets.listing import beginning, text_of
from pipeline.datasets.own.tables import columns
from pipeline.datasets.own.tables.columns import Asked, Columns


class Row(NamedTuple):
    """A row: its first line in the file, its cells without spaces around, and its text."""

    line: int
    cells: list[str]
    text: str

    def place(self, index: int, separator: str) -> tuple[int, int]:
        """Return the (line, column) where a cell begins, both from 1."""
        start = self.start(index, separator)
        newline = self.text.rfind("\n", 0, start)
        return self.line + self.text.count("\n", 0, start), start - newline

    def start(self, index: int, separator: str) -> int:
        """Return where a cell begins in the text of the row."""
        position, quoted = 0, False
        for position, character in enumerate(self.text):
            if index == 0:
                return position
            quoted ^= character == '"'
            index -= character == separator and not quoted
        return position


class Table(NamedTuple):
    """A table whose columns are understood.

    Attributes:
        path: Its file.
        separator: The character between two columns.
        names: The names of the columns; their numbers when there is no header.
        columns: What they are.
        rows: The rows, without the header and without empty rows.
    """

    path: str
    separator: str
    names: list[str]
    columns: Columns
    rows: Iterator[Row]

    def place(self, row: Row, index: int) -> str:
        """Return the place of a cell for a message: `captions.csv:7:12`."""
        line, column = row.place(index, self.separator)
        return f"{self.path}:{line}:{column}"


def read(path: str, separators: str, asked: Asked) -> Table:
    """Open a table and find out what its columns are.

    Args:
        path: The file.
        separators: Characters that may separate the columns.
        asked: Columns that the user names.

    Raises:
        UserError: The file is missing, is no text, or its columns are not clear. The rows raise it
            where quotes are wrong.
    """
    text = text_of(path)
    separator = _separator(text, separators, path)
    rows = _rows(text, separator, path)
    first = next(rows)
    names, found_columns = columns.find(path, first.cells, asked)
    if not columns.is_header(first.cells):
        rows = itertools.chain([first], rows)
    return Table(path, separator, names, found_columns, rows)


def columns_in(path: str, separators: str, asked: Asked) -> list[str] | None:
    """Return the names of a file's columns if it begins like a table of images and captions.

    Their numbers when there is no header; None if the file begins in another way.
    """
    begin = beginning(path)
    text = begin[: begin.rfind("\n") + 1] or begin
    try:
        separator = _separator(text, separators, path)
        return columns.find(path, next(_rows(text, separator, path)).cells, asked)[0]
    except UserError:
        return None


def separators_of(asked: str | None, usual: str) -> str:
    """Return the characters that may separate columns.

    Args:
        asked: What --separator says.
        usual: Those to try without it.

    Raises:
        UsageError: It is no single character.
    """
    separator = {"tab": "\t", r"\t": "\t"}.get(asked or "", asked)
    if separator and (len(separator) > 1 or separator in '"\r\n'):
        raise UsageError(f"--separator={asked}: expected one character, or `tab`")
    return separator or usual


def _separator(text: str, separators: str, path: str) -> str:
    """Return the character between the columns.

    It is the one that gives an image and a caption, else the one that gives most columns.
    """
    best: tuple[tuple[bool, int], str, Row] | None = None
    for separator in separators:
        try:
            first = next(_rows(text, separator, path, quoted=separator in ",;"), None)
        except UserError:
            continue
        if first is None:
            raise UserError(f"{path}: is empty")
        rank = columns.names_images(first.cells), len(first.cells)
        if best is None or rank > best[0]:
            best = rank, separator, first
    if best is None:
        raise UserError(f"{path}:1: the quotes of the first row do not match")
    if len(best[2].cells) < 2:
        raise UserError(
            f"{path}:1: one column only, {best[2].cells[0][:60]!r}; --separator says which"
            " character lies between two columns"
        )
    return best[1]


def _rows(text: str, separator: str, path: str, quoted: bool | None = None) -> Iterator[Row]:
    """Yield the rows that are not empty.

    Raises:
        UserError: Quotes do not match, or a cell is too long.
    """
    if quoted is None:
        quoted = separator in ",;" or (separator == "\t" and _is_quoted(text, separator, path))
    lines: list[str] = []

    def noted() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            lines.append(line)
            yield line

    reader = csv.reader(
        noted(),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        skipinitialspace=separator != " ",
        strict=True,
    )
    number = 1
    while True:
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{path}:{number}:1: the row that begins here cannot be read: {error}; a quote in"
                ' a quoted text is written twice: ""'
            ) from None
        if any(cells):
            yield Row(number, cells, "".join(lines))
        number = reader.line_num + 1
        lines.clear()


def _is_quoted(text: str, separator: str, path: str) -> bool:
    """Return whether quotes enclose cells in the whole table, as spreadsheets write them."""
    try:
        for _ in _rows(text, separator, path, quoted=True):
            pass
    except UserError:
        return False
    return True
