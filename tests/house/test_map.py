"""The map in WORKSPACE.md is that of the tree."""

import pytest

from tests.support.house import allowed_imports, parse_rooms, python_files

NOT_ROOMS = {"tests", "benchmarks", "docs"}


def test_the_rooms_of_the_map_are_the_packages_of_the_tree():
    packages = {path.parts[0] for path in python_files() if len(path.parts) > 1}
    assert allowed_imports().keys() == packages - NOT_ROOMS


def test_a_room_may_import_rooms_only():
    for room, imports in allowed_imports().items():
        assert set(imports) <= allowed_imports().keys() - {room}, room


def test_the_table_is_read_as_it_stands():
    text = """
| package | why |
|---|---|
| `numpy` | arrays |

| room | its question | may import |
|---|---|---|
| `cli/` | How does a command start? | nothing of ours |
| `records/` | What is on disk? | `cli` |
| `scenes/` | What is drawn? | `records`, `cli` |

| engine | how |
|---|---|
| `Dask/` | `--runner=DaskRunner` |
"""
    expected = {"cli": (), "records": ("cli",), "scenes": ("records", "cli")}
    assert parse_rooms(text) == expected
    assert parse_rooms(text.partition("\n| engine")[0]) == expected
    with pytest.raises(ValueError, match="not in list"):
        parse_rooms("no table")
