"""What goes wrong in a run: losses that explode, damaged files, full disks."""

import errno
import os
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from artifacts import checkpoints
from cli.errors import UserError
from tests.support.counting_run import all_steps
from tests.support.disk import full_disk

# Losses.


@pytest.mark.parametrize("what", ["total", "gradient_norm"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stops_and_names_the_last_good_checkpoint(make_run, what, value):
    run = make_run()
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


def test_a_loss_that_is_no_number_at_once(make_run):
    run = make_run()
    run.at_step = lambda n: {"total": np.nan}
    with pytest.raises(UserError, match=r"step 1: .*it broke before the first"):
        run.go()


@pytest.mark.parametrize("total", [10.1, 31.0])
def test_a_loss_that_explodes_stops(make_run, total):
    run = make_run()
    run.at_step = lambda n: {"total": total} if n == 8 else None
    with pytest.raises(UserError, match=rf"step 8: the loss is {total:.4g} \(1 was usual\)"):
        run.go()


def test_a_loss_that_falls_or_has_an_unlucky_batch_goes_on(make_run):
    run = make_run()
    losses = [9.2, 7, 5, 4, 3, 3, 29, 3, 2, 1, *[0.01] * 8, 6, 0.01]
    run.at_step = lambda n: {"total": losses[n - 1]}
    assert run.go() == 0


# Files.


def cut(path):
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(make_run, capsys):
    run = make_run(epochs=3)
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


def test_a_damaged_best_is_scored_and_written_anew(make_run, capsys):
    run = make_run([(0.9, 1.0), (0.5, 1.0)], epochs=2)
    assert run.go() == 0
    assert run.best()[1]["epoch"] == 1
    path = run.loop.checkpoints.folder.best
    for break_it in (cut, os.remove):
        break_it(path)
        assert run.go() == 0
        err = capsys.readouterr().err
        assert path in err and "the next validation writes them anew" in err
        scores = {"CIDEr": 0.5, "Bleu_4": 0.0, "cross_entropy": 1.0}
        assert run.best()[1] == {"epoch": 2, "step": 10, **scores}
        assert run.history() == [5, 10]  # the score that is made again stands there once
        np.testing.assert_array_equal(run.best()[0]["weight"], [11.0, 12.0])
    assert run.steps == all_steps(2)


def test_best_weights_without_a_checkpoint_are_not_overwritten(make_run):
    run = make_run(epochs=1)
    assert run.go() == 0
    for path in run.loop.checkpoints.newest():
        os.remove(path)
    with pytest.raises(UserError, match=r"best.npz: no checkpoint to resume from lies beside it"):
        run.go()
    assert run.steps == all_steps(1)
    np.testing.assert_array_equal(run.best()[0]["weight"], [6.0, 7.0])


@pytest.mark.parametrize("method", ["save", "save_best"])
def test_a_kill_while_the_first_score_is_saved_costs_nothing(make_run, monkeypatch, method):
    run = make_run(epochs=2)
    saved, save = [], getattr(checkpoints.Checkpoints, method)

    def killed(*arguments):
        if len(saved) == (1 if method == "save" else 0):  # after the best weights, or before
            raise KeyboardInterrupt
        saved.append(arguments)
        return save(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints.Checkpoints, method, killed)
        run.go()
    assert run.go() == 0
    assert run.steps == all_steps(2)
    assert run.scored == [5, 5, 10]
    assert run.history() == [5, 10]
    assert run.best()[1]["step"] == 5


def test_a_full_disk_keeps_the_older_checkpoint_and_says_so(make_run, monkeypatch):
    run = make_run(epochs=1)
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


def test_a_score_that_cannot_be_printed_costs_no_checkpoint(make_run, monkeypatch):
    run = make_run(epochs=1)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(sys, "stdout", types.SimpleNamespace(write=full, flush=lambda: None))
        run.go()
    (path,) = run.loop.checkpoints.newest()
    assert os.path.basename(path) == "step-000000005.npz"
    assert run.best()[1]["step"] == 5


@pytest.mark.parametrize("size", [0, 50, 120])  # at the start, and when a line is added
def test_a_history_that_cannot_be_written_is_a_line(make_run, size):
    run = make_run(epochs=1)
    with full_disk(size), pytest.raises(UserError) as caught:
        run.go()
    message = str(caught.value)
    assert "File too large" in message
    assert "run the same command to resume" in message
    assert "\n" not in message
