"""What lies in a run's folder decides how a training begins: anew, resumed, or not at all."""

import json
import os
import shutil
import socket

import pytest

from artifacts import weights_file
from cli import process_lock
from tests.support.commands import one_error
from tests.support.training import events, run_evaluate, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory, scenes_records):
    """A run of one epoch of two steps. Tests read it and write nothing into it."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    assert train(records_dir=scenes_records, run_dir=run_dir, batch_size=24, epochs=1) == 0
    return run_dir


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy of `trained`."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def again(scenes_records, run_dir):
    """A function that gives the command of `trained` again, for its copy."""
    same = {"records_dir": scenes_records, "run_dir": run_dir, "batch_size": 24, "epochs": 1}
    return lambda *args, **options: train(*args, **(same | options))


def digests(run_dir) -> dict[str, tuple[int, int]]:
    """Size and time of every file of a run."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in run_dir.rglob("*")
        if path.is_file()
    }


# A path is a path, whatever is in it.


@pytest.mark.usefixtures("without_meteor")
def test_a_path_with_characters_of_a_glob_is_resumed(tmp_path, scenes_records, capsys):
    name = "lr[1e-3] a*b? {x}"
    records, run_dir = tmp_path / f"records {name}", tmp_path / f"run {name}"
    shutil.copytree(scenes_records, records)
    same = {"records_dir": records, "run_dir": run_dir, "batch_size": 24}
    assert train(**same, max_steps=1, profile_steps="1:1") == 0
    config = json.loads((run_dir / "config.json").read_text())
    capsys.readouterr()
    assert train(**same, epochs=1) == 0
    assert "resuming from step 1 of 2" in capsys.readouterr().err
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == [
        *("best.npz", "step-000000001.npz", "step-000000002.npz")
    ]
    assert json.loads((run_dir / "config.json").read_text())["data"] == config["data"]
    assert events(run_dir)["val/CIDEr"] == [1, 2]
    assert list((run_dir / "events").rglob("*.xplane.pb"))
    assert run_evaluate(run_dir=run_dir, records_dir=records) == 0
    assert (run_dir / "evaluation" / "val" / "metrics.json").exists()


# A run is never started over.


def test_weights_without_a_config_are_not_overwritten(run_dir, again, capsys):
    (run_dir / "config.json").unlink()
    before = digests(run_dir)
    assert again() == 1
    error = one_error(capsys)
    assert f"{run_dir}/checkpoints: holds best.npz and {run_dir}/config.json is missing" in error
    assert digests(run_dir) == before


def test_best_weights_without_a_checkpoint_are_not_overwritten(run_dir, again, capsys):
    (run_dir / "checkpoints" / "step-000000002.npz").unlink()
    before = digests(run_dir)
    assert again() == 1
    assert "best.npz: no checkpoint to resume from lies beside it" in one_error(capsys)
    assert digests(run_dir) == before


def test_a_run_that_was_killed_before_its_first_checkpoint_says_that_it_begins(
    run_dir, again, capsys
):
    shutil.rmtree(run_dir / "checkpoints")
    assert again() == 0
    assert f"{run_dir}: no checkpoint yet: training begins at step 0" in capsys.readouterr().err
    assert weights_file.load(str(run_dir / "checkpoints" / "best.npz"))[1]["step"] == 2


# One trainer, one evaluation at a time.


def test_a_second_trainer_is_refused(run_dir, again, capsys):
    before = digests(run_dir)
    with process_lock.only_process(str(run_dir), "training", ""):
        assert again(epochs=2) == 1
    assert one_error(capsys) == (
        f"error: {run_dir}: process {os.getpid()} on {socket.gethostname()} is training there; wait"
        " until it has ended, stop it, or give another --run_dir"
    )
    assert digests(run_dir) == before


def test_the_other_workers_of_a_cluster_take_no_lock(run_dir, again, monkeypatch, capsys):
    hosts = ["127.0.0.1:1", "127.0.0.1:2"]
    with process_lock.only_process(str(run_dir), "training", ""):
        for index, code in ((0, 1), (1, 2)):
            task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            monkeypatch.setenv("TF_CONFIG", json.dumps(task))
            monkeypatch.setattr("trainer.distribution.join", lambda: pytest.exit("it is past"))
            if code == 1:
                assert again() == 1
                assert "is training there" in one_error(capsys)
            else:
                with pytest.raises(pytest.exit.Exception, match="it is past"):
                    again()


@pytest.mark.usefixtures("without_meteor")
def test_a_second_evaluation_of_one_folder_is_refused(run_dir, scenes_records, capsys):
    same = {"run_dir": run_dir, "records_dir": scenes_records}
    folder = run_dir / "evaluation" / "val"
    with process_lock.only_process(str(folder), "evaluating", ""):
        for shard in ("1/1", "1/2"):
            assert run_evaluate(**same, shard=shard) == 1
            assert f"{folder}: process {os.getpid()} on " in one_error(capsys)
    with process_lock.only_process(str(folder), "evaluating", "", shared=True):  # another shard
        assert run_evaluate(**same, shard="1/2") == 0
        assert run_evaluate(**same) == 1
    assert run_evaluate(**same) == 0
    assert (folder / "metrics.json").exists()
