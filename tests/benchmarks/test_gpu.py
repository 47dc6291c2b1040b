"""The benchmark of the GPU, at toy sizes on the CPU: its rows, kills, and cases that fail."""

import json
import subprocess
import sys

import pytest
import tensorflow as tf

from benchmarks.gpu.__main__ import Case, Runner, cases
from tests.support.commands import ROOT, users_environment


def test_rows_are_kept_of_cases_that_work_and_of_those_that_fail(tmp_path, capsys):
    output = tmp_path / "rows.json"
    runner = Runner(str(output), jobs=2, case_seconds=120)
    listed = [Case("machine", "devices", {}), Case("machine", "nothing_of_this_name", {})]
    runner.run(listed, seconds=120)
    rows = {row["case"]: row for row in json.loads(output.read_text())}
    assert rows["devices"]["tensorflow"] == tf.__version__
    (failed,) = [row for case, row in rows.items() if "nothing_of_this_name" in case]
    assert "failed with 1" in failed["case"] and "AttributeError" in failed["log"][-1]
    assert "machine: devices: names" in capsys.readouterr().out


def test_a_case_that_takes_too_long_is_given_up(tmp_path):
    output = tmp_path / "rows.json"
    Runner(str(output), 1, case_seconds=0.5).run([Case("machine", "devices", {})], seconds=60)
    (row,) = json.loads(output.read_text())
    assert row["case"].endswith("took too long")


def test_all_functions_exist():
    listed = cases("inputs", "work", ["S", "L"], [16, 64, 256])
    assert {case.part for case in listed} == {
        *("machine", "agreement", "training", "searching", "encoding", "whole")
    }
    for part, function in {(case.part, case.function) for case in listed}:
        source = (ROOT / "benchmarks" / "gpu" / f"{part}.py").read_text()
        assert f"\ndef {function}(" in source
    assert all(case.part not in ("whole",) for case in cases("", "work", ["S"], [2]))


@pytest.mark.slow
def test_the_parts_run_on_a_cpu(tmp_path):
    output = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--batches=2", "--sizes=S", "--jobs=1"]
    subprocess.run(
        [*command, f"--output={output}"], cwd=ROOT, env=users_environment(), check=True, timeout=900
    )
    rows = json.loads(output.read_text())
    failed = {row["case"] for row in rows if "failed" in row["case"]}
    assert all("textbook" in case for case in failed)  # PyTorch is not in the lock
    by_case = {row["case"]: row for row in rows}
    agreement = by_case["plain step under XLA on CPU:0 against CPU, float32"]
    assert agreement["worst_gradient_off"] < 1e-4
    assert by_case["S, 10 captions: ours float32, whole-step XLA"]["captions_per_s"] > 1
    assert by_case["ours bfloat16, beam 3, 2 images"]["images_per_s"] > 1


def test_the_gradients_of_the_compiled_step_agree(tmp_path):
    """A case from its own process to its rows: it follows what the trainer calls its parts."""
    output = tmp_path / "rows.json"
    Runner(str(output), 1, 300).run([Case("agreement", "gradients", {"images": 1})], 300)
    rows = json.loads(output.read_text())
    assert len(rows) == 2
    assert all(row["worst_gradient_off"] < 1e-4 and row["loss_off"] < 1e-5 for row in rows)
