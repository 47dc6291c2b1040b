"""`trainer.main --stage=scst` as it is used, on small runs."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from artifacts import restore, weights_file
from records.vocabulary import PAD
from tests.support.commands import one_error
from tests.support.shared import make_once
from tests.support.training import events, run_evaluate, train
from trainer import loop, main
from trainer.self_critical import guards

SCST = {
    "stage": "scst",
    "scst_learning_rate": 5e-3,
    "scst_temperature": 0.5,
    "doubly_stochastic": 0,
    "deterministic": True,
    "epochs": 4,
}


def history(run_dir: Path, kind: str) -> list[dict]:
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def newest_weights(run_dir: Path) -> dict[str, np.ndarray]:
    newest = sorted((run_dir / "checkpoints").glob("step-*.npz"))[-1]
    return weights_file.load(str(newest))[0]


def best(run_dir: Path):
    return weights_file.load(str(run_dir / "checkpoints" / "best.npz"))


@pytest.fixture(scope="session")
def learnt(scenes_records, shared_folder) -> Path:
    """Train a run with cross-entropy until its captions are worth rewarding."""

    def make(run_dir: Path) -> None:
        assert train(records_dir=scenes_records, run_dir=run_dir, epochs=12, label_smoothing=0) == 0

    return make_once(shared_folder / "learnt", make)


@pytest.fixture(scope="session")
def rewarded(learnt, scenes_records, shared_folder) -> Path:
    """Train that run on for four epochs of twelve self-critical steps. No test writes into it."""

    def make(run_dir: Path) -> None:
        options = SCST | {"records_dir": scenes_records, "run_dir": run_dir, "init_run": learnt}
        assert train(**options) == 0

    return make_once(shared_folder / "rewarded", make)


def test_the_reward_of_a_tiny_run_rises(rewarded):
    rewards = [line["reward"] for line in history(rewarded, "train")]
    assert rewards[-1] > 1.1 * rewards[0] > 0
    watched = {*guards.LIMITS, "gradient_norm", "learning_rate", "captions_per_second"}
    for line in history(rewarded, "train"):
        assert line.keys() > watched
        assert "perplexity" not in line and "cross_entropy" not in line
    assert {f"train/{name}" for name in guards.LIMITS} <= events(rewarded).keys()
    config = json.loads((rewarded / "config.json").read_text())
    assert config["training"]["stage"] == "scst"
    assert config["initial"]["run"]


def test_the_weights_it_began_with_are_scored_first(rewarded, learnt):
    scores = history(rewarded, "val")
    assert [score["step"] for score in scores] == [0, 12, 24, 36, 48]
    assert scores[0]["CIDEr"] == pytest.approx(restore.restore(str(learnt)).note["CIDEr"], abs=1e-6)
    assert best(rewarded)[1]["CIDEr"] == max(score["CIDEr"] for score in scores)


def test_a_run_that_only_gets_worse_ends_with_the_weights_it_began_with(
    learnt, scenes_records, tmp_path, monkeypatch
):
    class Punishment(main.Reward):
        def __call__(self, image_ids, captions):
            return -super().__call__(image_ids, captions)

    monkeypatch.setattr(main, "Reward", Punishment)
    options = SCST | {"epochs": 1, "warmup_steps": 0, "scst_learning_rate": 0.01}
    run_dir = tmp_path / "run"
    assert train(**options, records_dir=scenes_records, run_dir=run_dir, init_run=learnt) == 0
    assert history(run_dir, "val")[-1]["CIDEr"] < history(run_dir, "val")[0]["CIDEr"]
    (arrays, note), (began, _) = best(run_dir), best(learnt)
    assert note["epoch"] == note["step"] == 0
    for name, array in began.items():
        if "output_logits" in name:  # sharper; padding is never said
            array = 2 * array
            arrays[name][..., PAD] = array[..., PAD]
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


def test_padding_gets_no_probability(rewarded):
    """Words that are pushed down would push it up, and no sample would tell."""
    for name, array in newest_weights(rewarded).items():
        if name.endswith("output_logits_bias") and not name.startswith("optimizer/"):
            assert array[PAD] < -45
            break
    else:
        raise AssertionError("there is no such bias")


def test_a_run_that_was_killed_before_its_first_checkpoint_takes_the_weights_anew(
    learnt, scenes_records, tmp_path, monkeypatch, capsys
):
    options = SCST | {"records_dir": scenes_records, "run_dir": tmp_path / "run", "epochs": 1}
    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "run", lambda self: 1)
        assert train(**options, init_run=learnt) == 1
    assert train(**options) == 0
    assert "no checkpoint yet: training begins at step 0" in capsys.readouterr().out
    began = history(tmp_path / "run", "val")[0]
    assert began["CIDEr"] == pytest.approx(best(learnt)[1]["CIDEr"], abs=1e-6)


def test_a_wrong_reward_is_stopped_and_the_best_weights_are_kept(
    learnt, scenes_records, tmp_path, monkeypatch, capsys
):
    class Length(main.Reward):
        def __call__(self, image_ids, captions):
            return (captions != 0).sum(-1).astype(float)

    monkeypatch.setattr(main, "Reward", Length)
    options = SCST | {"epochs": 20, "warmup_steps": 30, "scst_learning_rate": 0.02}
    run_dir = tmp_path / "run"
    assert train(**options, records_dir=scenes_records, run_dir=run_dir, init_run=learnt) == 1
    error = one_error(capsys)
    assert "the captions run away: " in error
    assert "at the start; the best weights" in error
    assert f"the best weights by validation are kept in {run_dir}/checkpoints/best.npz" in error
    scores = history(run_dir, "val")
    assert best(run_dir)[1]["CIDEr"] == max(score["CIDEr"] for score in scores)
    assert len(scores) < 20


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sigterm_saves_and_the_same_command_ends_at_the_same_weights(
    rewarded, learnt, scenes_records, tmp_path, monkeypatch, precision
):
    options = SCST | {"records_dir": scenes_records, "init_run": learnt, "precision": precision}
    expected_run = rewarded
    if precision != "float32":
        options["epochs"] = 2
        expected_run = tmp_path / "undisturbed"
        assert train(**options, run_dir=expected_run) == 0
    calls = []
    with monkeypatch.context() as patch:
        step = loop.SelfCriticalStep.__call__

        def stop_at_17(self, *batch):
            calls.append(1)
            if len(calls) == 17:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(self, *batch)

        patch.setattr(loop.SelfCriticalStep, "__call__", stop_at_17)
        assert train(**options, run_dir=tmp_path / "run") == 75
    assert train(**options, run_dir=tmp_path / "run") == 0
    last = sorted((expected_run / "checkpoints").glob("step-*.npz"))[-1].name
    for name in (last, "best.npz"):
        arrays, note = weights_file.load(str(tmp_path / "run" / "checkpoints" / name))
        expected, expected_note = weights_file.load(str(expected_run / "checkpoints" / name))
        assert note == expected_note
        assert arrays.keys() == expected.keys()
        for path in expected:
            assert arrays[path].tobytes() == expected[path].tobytes(), path
    assert history(tmp_path / "run", "val") == history(expected_run, "val")


@pytest.mark.usefixtures("without_meteor")
def test_such_a_run_is_evaluated_as_any_other(rewarded, scenes_records, tmp_path):
    options = {"run_dir": rewarded, "records_dir": scenes_records, "output_dir": tmp_path / "out"}
    assert run_evaluate(**options) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["images"] == 6


def test_wrong_usage(learnt, rewarded, four_run, scenes_records, tmp_path, capsys):
    options = SCST | {"records_dir": scenes_records, "run_dir": tmp_path / "run"}
    assert train(**options) == 2
    assert "--stage=scst goes on from a run" in one_error(capsys)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())
    names = ("rnn_units", "embedding_dim", "attention_units", "feature_projection")
    assert train(**options | dict.fromkeys(names), init_run=four_run) == 1
    error = one_error(capsys)
    assert "are known to" in error and "first train on from there" in error
    assert train(**options | {"scst_samples": 1}, init_run=learnt) == 2
    assert "scst_samples" in one_error(capsys)
    assert train(**options | {"stage": "reinforce"}, init_run=learnt) == 2
    assert "stage" in one_error(capsys)
    same = {"records_dir": scenes_records, "run_dir": rewarded}
    assert train(**SCST | same | {"stage": None, "init_run": learnt}) == 2
    assert "--stage=cross_entropy contradicts the run, trained with --stage=scst" in one_error(
        capsys
    )
    assert train(**SCST | same) == 0  # a run that is resumed knows where it began
