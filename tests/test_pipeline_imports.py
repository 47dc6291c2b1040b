"""Imports between the rooms of the house run one way."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What a module of each room may import of ours, beside its own room.
ALLOWED = {
    "records": (),
    "model": (),
    "scenes": ("records.errors",),
    "pipeline": ("records", "scenes"),
    "trainer": ("records", "model", "scenes"),
    "serving": ("records", "model"),
}
# Files that may import more: features in the job come from the encoder that training uses.
ALLOWED_FILES = {"pipeline/features.py": ("model.encoder", "model.frozen", "model.quiet")}


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
    assert wrong_imports("pipeline", "pipeline/shard.py", {"model.encoder"})
    assert not wrong_imports("pipeline", "pipeline/features.py", {"model.encoder.build"})
    assert wrong_imports("pipeline", "pipeline/features.py", {"model.search"})
    assert wrong_imports("scenes", "scenes/world.py", {"records.text.tokenise"})
    assert not wrong_imports("scenes", "scenes/world.py", {"records.errors.UserError"})
    assert wrong_imports("serving", "serving/caption.py", {"trainer.config"})
    assert wrong_imports("records", "records/wire.py", {"pipeline"})
    assert "pipeline.files" in imported(ROOT / "pipeline/shard.py")
