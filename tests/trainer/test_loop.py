"""The loop around a step that costs nothing: epochs, scores, checkpoints, stops and ends."""

import errno
import json
import os
import signal
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from artifacts import weights_file
from artifacts.checkpoints import Checkpoints
from artifacts.run_folder import RunFolder
from cli.errors import UserError
from tests.support.disk import full_disk
from tests.support.training import config
from trainer import history, loop
from trainer.distribution import one_device
from trainer.input.order import Batch
from trainer.optimizer import build_optimizer
from trainer.stop import Stop
from trainer.validation import Score, Validation

STEPS = 5  # in an epoch


class Run:
    """A run of steps that only count.

    Attributes:
        steps: (epoch, batch of it) of every step taken, over all `go`s.
        scored: the step at each validation.
    """

    def __init__(self, path, monkeypatch, scores=(), **changes):
        path.mkdir()
        self.config = config(run_dir=path, **({"epochs": 4} | changes))
        self.scores = dict(enumerate(scores, 1))
        self.steps, self.scored, self.said = [], [], []
        self.at_step = lambda step: None  # called after each; what it returns joins the scalars
        monkeypatch.setattr(loop, "build_step", lambda *_: self._step)

    def go(self, validate=True) -> int:
        """Start the command anew: fresh weights, whatever is saved is found."""
        self.weight = tf.keras.Variable([1.0, 2.0], name="weight")
        captioner = types.SimpleNamespace(trainable_variables=[self.weight])
        batches = types.SimpleNamespace(epoch=self._batches, steps_per_epoch=STEPS)
        validation = Validation(self._validate) if validate else None
        before = signal.getsignal(signal.SIGTERM)
        self.loop = loop.Loop(self.config, captioner, batches, validation, one_device(), Stop())
        try:
            return self.loop.run()
        finally:
            signal.signal(signal.SIGTERM, before)

    def _batches(self, epoch, skip):
        for batch in range(skip, STEPS):
            yield Batch((epoch, batch), np.ones((2, 3, 4), np.int32), np.array([7, 8]))

    def _step(self, inputs, ids):
        self.steps.append(inputs)
        self.loop.optimizer.iterations.assign_add(1)
        self.weight.assign_add([1.0, 1.0])
        names = ("total", "cross_entropy", "gradient_norm", "learning_rate", "words", "captions")
        values = dict.fromkeys(names, 1.0)
        return values | (self.at_step(len(self.steps)) or {})

    def _validate(self):
        self.scored.append(self.loop.position.step)
        cider, cross_entropy = self.scores.get(self.loop.position.step // STEPS, (0.1, 1.0))
        return Score(cross_entropy, cider)

    def best(self):
        return weights_file.load(self.loop.checkpoints.folder.best)

    def history(self, kind="val"):
        with open(self.loop.history.path) as file:
            lines = [json.loads(line) for line in file]
        return [line["step"] for line in lines if line["kind"] == kind]


@pytest.fixture
def make(tmp_path, monkeypatch):
    return lambda *args, **changes: Run(tmp_path / "run", monkeypatch, *args, **changes)


def all_steps(epochs=4):
    return [(epoch, batch) for epoch in range(epochs) for batch in range(STEPS)]


def test_a_run_takes_every_step_and_scores_every_epoch(make):
    run = make()
    assert run.go() == 0
    assert run.steps == all_steps()
    assert run.scored == run.history() == [5, 10, 15, 20]
    assert [os.path.basename(p) for p in run.loop.checkpoints.newest()] == [
        "step-000000020.npz",
        "step-000000015.npz",
        "step-000000010.npz",
    ]
    assert run.go() == 0  # again: nothing is left to do
    assert run.steps == all_steps()


def test_best_is_the_epoch_of_the_highest_cider_ties_by_loss(make):
    run = make([(0.3, 2.0), (0.5, 3.0), (0.5, 2.9), (0.4, 1.0)])
    assert run.go() == 0
    arrays, note = run.best()
    assert (note["epoch"], note["step"], note["CIDEr"]) == (3, 15, 0.5)
    np.testing.assert_array_equal(arrays["weight"], [16.0, 17.0])
    assert not any(name.startswith("optimizer") for name in arrays)


def test_without_a_val_split_the_last_is_taken(make):
    run = make()
    assert run.go(validate=False) == 0
    assert run.best()[1] == {"epoch": 4, "step": 20}
    assert run.scored == []


def test_patience_ends_a_run_that_gets_no_better(make, capsys):
    run = make([(0.3, 2.0), (0.2, 1.0), (0.3, 2.0), (0.9, 1.0)], patience=2)
    assert run.go() == 0
    assert run.scored == [5, 10, 15]
    assert "no better score in 2 epochs: stopping early" in capsys.readouterr().out
    assert run.go() == 0
    assert len(run.steps) == 15


def test_max_steps_ends_a_run_inside_an_epoch(make):
    run = make(max_steps=7)
    assert run.go() == 0
    assert run.steps == all_steps()[:7]
    assert run.scored == [5, 7]


@pytest.mark.parametrize("stop_at", range(1, 21))
def test_sigterm_saves_and_the_same_command_goes_on(make, stop_at, capsys):
    run = make([(0.1, 1.0), (0.2, 1.0), (0.3, 1.0), (0.2, 1.0)])
    all_scored = [5, 10, 15, 20]
    run.at_step = lambda n: os.kill(os.getpid(), signal.SIGTERM) if n == stop_at else None
    assert run.go() == loop.STOPPED
    assert run.steps == all_steps()[:stop_at]
    assert run.scored == all_scored[: (stop_at - 1) // STEPS]  # no validation is waited for
    path = run.loop.checkpoints.newest()[0]
    assert f"stopped at step {stop_at}: {path} is saved" in capsys.readouterr().err
    assert run.go() == 0
    assert f"resuming from step {stop_at} of 20" in capsys.readouterr().err
    assert run.steps == all_steps()
    assert run.scored == run.history() == all_scored
    assert run.best()[1]["epoch"] == 3
    np.testing.assert_array_equal(run.weight, [21.0, 22.0])


def test_sigterm_during_a_validation_stops_at_once_and_it_is_made_up_for(make):
    run = make()
    validate = run._validate

    def killed():
        if len(run.scored) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("nothing was stopped")
        return validate()

    run._validate = killed
    assert run.go() == loop.STOPPED
    assert len(run.steps) == 10
    assert run.scored == [5]
    run._validate = validate
    assert run.go() == 0
    assert run.steps == all_steps()
    assert run.scored == [5, 10, 15, 20]


def test_a_kill_goes_on_from_the_last_checkpoint(make, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)  # after every step
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    run = make()

    def power_cut(n):
        if n == 8:
            raise KeyboardInterrupt  # nothing is saved on the way out

    run.at_step = power_cut
    with pytest.raises(KeyboardInterrupt):
        run.go()
    assert run.history("train") == list(range(1, 8))
    with open(run.loop.history.path, "a") as file:
        file.write('{"kind": "train", "step": 99}\n{"kind": "tra')  # past what was saved, and cut
    assert run.go() == 0
    assert run.steps == all_steps()[:8] + all_steps()[7:]
    assert run.history("train") == list(range(1, 21))
    assert run.scored == [5, 10, 15, 20]


@pytest.mark.parametrize("what", ["total", "gradient_norm"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stops_and_names_the_last_good_checkpoint(make, what, value):
    run = make()
    run.at_step = lambda n: {what: value} if n == 8 else None
    with pytest.raises(UserError) as caught:
        run.go()
    good = run.loop.checkpoints.newest()
    assert [os.path.basename(path) for path in good] == ["step-000000005.npz"]
    message = str(caught.value)
    assert message.startswith("step 8: ")
    assert str(value) in message
    assert "learning rate 1, images 7, 8; lower --learning_rate" in message
    assert f"the last good checkpoint is {good[0]}" in message
    assert "\n" not in message


def test_a_loss_that_is_no_number_at_once(make):
    run = make()
    run.at_step = lambda n: {"total": np.nan}
    with pytest.raises(UserError, match=r"step 1: .*it broke before the first"):
        run.go()


@pytest.mark.parametrize("total", [10.1, 31.0])
def test_a_loss_that_explodes_stops(make, total):
    run = make()
    run.at_step = lambda n: {"total": total} if n == 8 else None
    with pytest.raises(UserError, match=rf"step 8: the loss is {total:.4g} \(1 was usual\)"):
        run.go()


def test_a_loss_that_falls_or_has_an_unlucky_batch_goes_on(make):
    run = make()
    losses = [9.2, 7, 5, 4, 3, 3, 29, 3, 2, 1, *[0.01] * 8, 6, 0.01]
    run.at_step = lambda n: {"total": losses[n - 1]}
    assert run.go() == 0


# Checkpoints.


def cut(path):
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(make, capsys):
    run = make(epochs=3)
    assert run.go() == 0
    newest, older, oldest = run.loop.checkpoints.newest()
    cut(newest)
    assert run.go() == 0
    err = capsys.readouterr().err
    assert f"skipping a damaged checkpoint: {newest}" in err
    assert "resuming from step 10 of 15" in err
    assert run.steps == all_steps(3) + all_steps(3)[10:]
    np.testing.assert_array_equal(run.weight, [16.0, 17.0])
    for path in (newest, older, oldest):
        with open(path, "wb"):
            pass
    with pytest.raises(UserError, match=r"no good checkpoint among 3; remove the run's folder"):
        run.go()


def test_a_damaged_best_is_scored_and_written_anew(make, capsys):
    run = make([(0.9, 1.0), (0.5, 1.0)], epochs=2)
    assert run.go() == 0
    assert run.best()[1]["epoch"] == 1
    path = run.loop.checkpoints.folder.best
    for break_it in (cut, os.remove):
        break_it(path)
        assert run.go() == 0
        err = capsys.readouterr().err
        assert path in err and "the next validation writes them anew" in err
        assert run.best()[1] == {"epoch": 2, "step": 10, "CIDEr": 0.5, "cross_entropy": 1.0}
        np.testing.assert_array_equal(run.best()[0]["weight"], [11.0, 12.0])
    assert run.steps == all_steps(2)


def test_a_checkpoint_brings_optimizer_and_weights_back(tmp_path):
    def some(seed):
        rng = np.random.default_rng(seed)
        variables = [
            tf.keras.Variable(rng.normal(size=s).astype("f"), name=f"v{s[0]}")
            for s in ((3, 2), (4,))
        ]
        optimizer = build_optimizer(config(), 100)
        optimizer.build(variables)
        optimizer.apply_gradients([(tf.convert_to_tensor(v) * 2, v) for v in variables])
        return Checkpoints(RunFolder(str(tmp_path)), variables, optimizer, keep=2)

    first, second = some(1), some(2)
    assert second.restore() is None
    for step in (1, 2, 3):
        first.save(step, {"step": step})
    assert len(first.newest()) == 2
    assert second.restore() == {"step": 3}
    for one, other in (
        (first.variables, second.variables),
        (first.optimizer.variables, second.optimizer.variables),
    ):
        assert len(one) > 1
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_a_kill_left_of_a_checkpoint_is_swept(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    left = tmp_path / "checkpoints" / ".tmp-0123456789abcdef0123456789abcdef"
    left.write_bytes(b"half")
    optimizer = tf.keras.optimizers.Adam()
    assert Checkpoints(RunFolder(str(tmp_path)), [], optimizer, keep=2).restore() is None
    assert not left.exists()


def test_a_full_disk_keeps_the_older_checkpoint_and_says_so(make, monkeypatch):
    run = make(epochs=1)
    assert run.go() == 0
    older = run.loop.checkpoints.newest()
    big = run.loop.checkpoints
    big.variables = [tf.keras.Variable(np.zeros(100_000), name="weight")]
    for save in (lambda: big.save(6, {}), lambda: big.save_best({})):
        with full_disk(100_000), pytest.raises(UserError) as caught:
            save()
        assert f"cannot be written (File too large); the newest good one is {older[0]}" in str(
            caught.value
        )
        assert "run the same command to resume" in str(caught.value)
    assert big.newest() == older
    assert sorted(os.listdir(big.folder.checkpoints)) == ["best.npz", "step-000000005.npz"]
    assert run.go() == 0  # what is there is good


def test_a_score_that_cannot_be_printed_costs_no_checkpoint(make, monkeypatch):
    run = make(epochs=1)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(sys, "stdout", types.SimpleNamespace(write=full, flush=lambda: None))
        run.go()
    (path,) = run.loop.checkpoints.newest()
    assert os.path.basename(path) == "step-000000005.npz"
    assert run.best()[1]["step"] == 5


@pytest.mark.parametrize("size", [0, 50, 120])  # at the start, and when a line is added
def test_a_history_that_cannot_be_written_is_a_line(make, size):
    run = make(epochs=1)
    with full_disk(size), pytest.raises(UserError) as caught:
        run.go()
    message = str(caught.value)
    assert "File too large" in message
    assert "run the same command to resume" in message
    assert "\n" not in message


def test_means_are_weighted_by_words():
    window = history.StepWindow()
    window.add({"cross_entropy": 1.0, "words": 10.0, "captions": 2.0})
    window.add({"cross_entropy": 4.0, "words": 30.0, "captions": 2.0})
    summary = window.summary()
    assert summary["cross_entropy"] == pytest.approx(3.25)
    assert summary["perplexity"] == pytest.approx(np.exp(3.25))
