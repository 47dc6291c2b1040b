"""The table of rooms in WORKSPACE.md, and what the tests of the house read from the tree."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

from tests.support.commands import ROOT

TABLE_HEADER = ["room", "its question", "may import"]


def parse_rooms(text: str) -> dict[str, tuple[str, ...]]:
    """Return the table of rooms: room -> the rooms that it may import.

    Args:
        text: a Markdown document with one table whose columns are `room`, `its question` and
            `may import`. A room is written as `` `cli/` `` in the first column and as `` `cli` ``
            in the third.
    """
    rows = [_cells(line) for line in text.splitlines() if line.startswith("|")]
    start = rows.index(TABLE_HEADER)
    rooms = {}
    for row in rows[start + 2 :]:
        match = re.fullmatch(r"`(\w+)/`", row[0])
        if not match:
            break  # the next table
        _, question, imports = row
        assert question, f"{row[0]} has no question"
        rooms[match[1]] = tuple(re.findall(r"`(\w+)`", imports))
    return rooms


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@cache
def allowed_imports() -> dict[str, tuple[str, ...]]:
    """Return the table of rooms of WORKSPACE.md."""
    return parse_rooms((ROOT / "WORKSPACE.md").read_text())


@cache
def python_files() -> list[Path]:
    """Return every Python file that git knows or would add, relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.py"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file())


def imported_names(path: Path) -> set[str]:
    """Return the dotted names of everything that a file imports, at the top or inside functions.

    Args:
        path: relative to the root.
    """
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:  # from . import x
                parents = path.parts[: -node.level]
                package = ".".join([*parents, *([package] if package else [])])
            names |= {f"{package}.{alias.name}" for alias in node.names}
    return names


def room_files() -> list[Path]:
    """Return the Python files of all rooms, relative to the root."""
    return [path for path in python_files() if path.parts[0] in allowed_imports()]
