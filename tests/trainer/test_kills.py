"""A training that is killed twenty times ends at the weights of one that never was."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from artifacts import weights_file
from artifacts.recipe_flags.self_critical import SELF_CRITICAL, STAGES
from tests.support.commands import ROOT
from tests.support.training import TINY

KILLS = 20
EPOCHS = 24  # of 12 steps: more than are done before the last kill
# The command with checkpoints all the time, which kills itself some time after its STEP-th step.
_KILLED = """
import os, random, runpy, signal, sys, threading
from trainer import loop
step, seconds, *arguments = sys.argv[1:]
loop.CHECKPOINT_SECONDS = 0.5
build_step = loop.Loop._build_step
def killing(*args):
    take, calls = build_step(*args), []
    def taken(*batch):
        calls.append(1)
        if len(calls) == int(step):
            kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
            threading.Timer(float(seconds), kill).start()
        return take(*batch)
    return taken
loop.Loop._build_step = killing
sys.argv = ["trainer.main", *arguments]
runpy.run_module("trainer.main", run_name="__main__")
"""


def start(
    records_dir: Path, run_dir: Path, step: int = 0, seconds: float = 0, **changes: object
) -> int:
    """The training from where it is to its end, or to the kill after that step (0: none)."""
    options = TINY | {"records_dir": records_dir, "run_dir": run_dir, "epochs": EPOCHS} | changes
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-c", _KILLED, str(step), str(seconds), "--deterministic", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode


def digests(path: Path) -> dict[str, str]:
    """sha256 of every array of a checkpoint, and its note."""
    arrays, note = weights_file.load(str(path))
    digest = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}
    return digest | {"note": str(note)}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_twenty_kills_change_no_bit(tmp_path, scenes_records, stage):
    options = {}
    if stage == SELF_CRITICAL:
        assert start(scenes_records, tmp_path / "began", epochs=6) == 0
        options = {"stage": stage, "init_run": tmp_path / "began", "scst_learning_rate": 1e-3}
    assert start(scenes_records, tmp_path / "undisturbed", **options) == 0
    random.seed(7)
    for kill in range(KILLS):
        # At any moment: inside a step, a checkpoint, a validation.
        step, seconds = random.randint(1, 14), random.uniform(0, 0.5)
        code = start(scenes_records, tmp_path / "killed", step, seconds, **options)
        assert code == -9, f"kill {kill + 1}: ended with {code}"
    assert start(scenes_records, tmp_path / "killed", **options) == 0
    for name in (f"step-{12 * EPOCHS:09d}.npz", "best.npz"):
        actual, expected = (
            digests(tmp_path / run / "checkpoints" / name) for run in ("killed", "undisturbed")
        )
        assert len(actual) > 10
        assert actual == expected
