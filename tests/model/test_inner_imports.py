"""Imports inside model/ run one way: the definition does not know how it is made fast."""

import pytest

from tests.support.commands import ROOT
from tests.support.house import imported_names

# Part of model/ -> what else of model/ it may import.
ALLOWED = {
    "compiled.py": (),
    "definition": ("compiled",),
    "decoding.py": (),
    "saved_networks.py": (),
    "encoder_weights.py": ("saved_networks",),
    "encoder.py": ("encoder_weights",),
    "search": ("compiled",),
    "fast": ("compiled", "definition", "encoder"),
    "captioner.py": ("definition", "encoder", "fast"),
    "hiding.py": ("definition",),
    "caption_generator.py": ("captioner", "definition", "fast", "hiding", "search"),
}


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_run_one_way(part):
    path = ROOT / "model" / part
    files = [path] if path.is_file() else sorted(path.glob("*.py"))
    allowed = {part.removesuffix(".py"), *ALLOWED[part]}
    for file in files:
        ours = {
            name.split(".")[1]
            for name in imported_names(file.relative_to(ROOT))
            if name.startswith("model.")
        }
        assert ours <= allowed, file


def test_every_part_is_checked():
    parts = {
        path.name
        for path in (ROOT / "model").iterdir()
        if (path.is_dir() and path.name != "__pycache__") or path.suffix == ".py"
    }
    assert parts == {*ALLOWED, "__init__.py"}
