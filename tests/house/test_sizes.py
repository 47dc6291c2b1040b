"""Files, functions and folders are small enough to be read."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support.commands import ROOT
from tests.support.house import python_files

LINES_OF_A_FILE = 300
LINES_OF_A_FUNCTION = 50
FILES_OF_A_FOLDER = 16
# Path, or path and function -> why it is longer.
EXCEPTIONS: dict[str, str] = {}


def code_files() -> list[Path]:
    """Return every Python file outside the tests."""
    return [path for path in python_files() if path.parts[0] != "tests"]


def long_functions(source: str) -> Iterator[str]:
    """Yield the name of each function that is too long."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            if node.end_lineno - node.lineno + 1 > LINES_OF_A_FUNCTION:
                yield node.name


def test_no_file_and_no_function_is_too_long():
    too_long = set()
    for path in code_files():
        source = (ROOT / path).read_text()
        if len(source.splitlines()) > LINES_OF_A_FILE:
            too_long.add(path.as_posix())
        too_long |= {f"{path.as_posix()} {name}" for name in long_functions(source)}
    assert too_long == EXCEPTIONS.keys()


def test_no_folder_holds_too_many_files():
    counts = Counter(path.parent.as_posix() for path in code_files())
    assert {folder: n for folder, n in counts.items() if n > FILES_OF_A_FOLDER} == {}


def test_the_check_sees_a_long_function():
    body = "    pass\n"
    fits, long = "def fits():\n" + body * 49, "async def long():\n" + body * 50
    assert list(long_functions(fits + "\n" + long)) == ["long"]
