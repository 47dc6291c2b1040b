"""Scores are computed without TensorFlow."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "metrics").glob("*.py") if path.stem != "__init__")
# An import of a module that is None in sys.modules raises ImportError.
SCRIPT = """
import importlib, sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def import_without_tensorflow(*names: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, *names]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_every_module_imports_without_tensorflow():
    assert "official" in MODULES
    names = [f"metrics.{name}" for name in MODULES]
    done = import_without_tensorflow(*names, "evaluation.score")
    assert done.returncode == 0, done.stderr


def test_the_check_notices_tensorflow():
    done = import_without_tensorflow("model.encoder")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
