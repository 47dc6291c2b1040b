"""Imports between the rooms of the house run one way."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What a module of each room may import of ours, beside its own room.
ALLOWED = {
    "cli": (),
    "model": (),
    "records": ("cli",),
    "scenes": ("records", "cli"),
    "metrics": ("records", "cli"),
    "pipeline": ("records", "scenes", "cli"),
    "artifacts": ("model", "records", "cli"),
    "captioning": ("artifacts", "model", "records", "cli"),
    "trainer": ("captioning", "artifacts", "metrics", "model", "records", "cli"),
    "evaluation": ("captioning", "artifacts", "metrics", "model", "records", "scenes", "cli"),
    "serving": ("captioning", "artifacts", "model", "records", "cli"),
}
# Files that may import more: features in the job come from the encoder that training uses.
ALLOWED_FILES = {"pipeline/job/features.py": ("model.encoder", "model.fast.frozen_encoder")}


def imported(path: Path) -> set[str]:
    """Dotted names of everything a file imports, at the top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:  # from . import x
                parents = path.relative_to(ROOT).parts[: -node.level]
                package = ".".join([*parents, *([package] if package else [])])
            names |= {f"{package}.{alias.name}" for alias in node.names}
    return names


def wrong_imports(room: str, relative: str, names: set[str]) -> set[str]:
    allowed = (room, *ALLOWED[room], *ALLOWED_FILES.get(relative, ()))
    ours = {name for name in names if name.split(".")[0] in ALLOWED}
    return {n for n in ours if not any(n == a or n.startswith(a + ".") for a in allowed)}


def test_imports_run_one_way():
    wrong = {}
    for room in ALLOWED:
        for path in sorted((ROOT / room).rglob("*.py")):
            relative = path.relative_to(ROOT).as_posix()
            if found := wrong_imports(room, relative, imported(path)):
                wrong[relative] = found
    assert not wrong


def test_the_check_sees_what_it_must():
    assert wrong_imports("pipeline", "pipeline/job/shard.py", {"model.encoder"})
    assert not wrong_imports("pipeline", "pipeline/job/features.py", {"model.encoder.build"})
    assert wrong_imports("pipeline", "pipeline/job/features.py", {"model.search.beam"})
    assert wrong_imports("scenes", "scenes/world.py", {"model.encoder"})
    assert not wrong_imports("scenes", "scenes/world.py", {"cli.errors.UserError"})
    assert wrong_imports("serving", "serving/caption.py", {"trainer.loop"})
    assert wrong_imports("evaluation", "evaluation/main.py", {"serving.caption"})
    assert wrong_imports("records", "records/wire.py", {"pipeline"})
    assert "pipeline.storage.files" in imported(ROOT / "pipeline/job/shard.py")
