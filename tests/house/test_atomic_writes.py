"""Local files are written whole or not at all in one place."""

import ast

from tests.support.commands import ROOT
from tests.support.house import room_files

# Downloads keep half a file on purpose, and unpacking syncs once for all files of a zip.
OTHERS = {
    "pipeline/download/http.py": {"fsync"},
    "pipeline/download/archives.py": {"replace"},
    "pipeline/download/unpacking.py": {"replace"},
}


def test_only_atomic_file_renames_and_syncs():
    calls = {}
    for path in room_files():
        names = {
            node.attr
            for node in ast.walk(ast.parse((ROOT / path).read_text()))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
            and node.attr in ("replace", "rename", "renames", "fsync")
        }
        if names:
            calls[path.as_posix()] = names
    assert calls.pop("cli/atomic_file.py")
    assert calls == OTHERS
