"""Imports between the rooms of the house run one way: as the table in WORKSPACE.md says."""

import graphlib
from pathlib import Path

from tests.support.house import allowed_imports, imported_names, python_files

# Files that may import more than their room: the job computes features with training's encoder.
ALLOWED_FILES = {
    "pipeline/job/features.py": (
        *("model.encoder", "model.encoder_weights", "model.decoding"),
        "model.fast.frozen_encoder",
    )
}


def wrong_imports(path: str, names: set[str]) -> set[str]:
    """Return the names of ours that this file may not import."""
    rooms = allowed_imports()
    room = path.partition("/")[0]
    allowed = (room, *rooms[room], *ALLOWED_FILES.get(path, ()))
    ours = {name for name in names if name.partition(".")[0] in rooms}
    return {n for n in ours if not any(n == a or n.startswith(f"{a}.") for a in allowed)}


def test_imports_run_one_way():
    wrong = {}
    for path in python_files():
        if path.parts[0] in allowed_imports():
            names = wrong_imports(path.as_posix(), imported_names(path))
            if names:
                wrong[path.as_posix()] = names
    assert not wrong


def test_no_two_rooms_may_import_each_other():
    rooms = allowed_imports()
    order = list(graphlib.TopologicalSorter(rooms).static_order())  # raises on a circle
    assert set(order) == rooms.keys()


def test_the_check_sees_a_wrong_import():
    assert wrong_imports("pipeline/job/shard.py", {"model.encoder"})
    assert not wrong_imports("pipeline/job/features.py", {"model.encoder.build"})
    assert wrong_imports("pipeline/job/features.py", {"model.search.beam"})
    assert wrong_imports("scenes/world.py", {"model.encoder"})
    assert not wrong_imports("scenes/world.py", {"cli.errors.UserError"})
    assert wrong_imports("serving/caption.py", {"trainer.loop"})
    assert wrong_imports("evaluation/main.py", {"serving.caption"})
    assert wrong_imports("records/wire.py", {"pipeline"})
    assert "pipeline.storage.files" in imported_names(Path("pipeline/job/shard.py"))
