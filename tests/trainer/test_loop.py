"""The loop around a step that costs nothing: epochs, scores, stops and ends."""

import os
import signal

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from artifacts import weights_file
from tests.support.counting_run import STEPS, all_steps
from tests.support.training import events
from trainer import loop
from trainer.logs import history
from trainer.stop import STOPPED


def test_a_run_takes_every_step_and_scores_every_epoch(make_run):
    run = make_run()
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


def test_best_is_the_epoch_of_the_highest_cider_ties_by_loss(make_run):
    run = make_run([(0.3, 2.0), (0.5, 3.0), (0.5, 2.9), (0.4, 1.0)])
    assert run.go() == 0
    arrays, note = run.best()
    assert (note["epoch"], note["step"], note["CIDEr"]) == (3, 15, 0.5)
    np.testing.assert_array_equal(arrays["weight"], [16.0, 17.0])
    assert not any(name.startswith("optimizer") for name in arrays)


@pytest.mark.parametrize(
    ("metric", "epoch"), [("cider", 2), ("bleu_cider", 3), ("loss", 1), (None, 2)]
)
def test_the_metric_chooses_the_best_weights(make_run, metric, epoch, capsys):
    scores = [(0.3, 1.0, 0.1), (0.5, 3.0, 0.1), (0.45, 2.0, 0.2), (0.4, 2.5, 0.1)]
    run = make_run(scores, **{"validation_metric": metric} if metric else {})
    assert run.go() == 0
    cider, loss, bleu = scores[epoch - 1]
    best = {"epoch": epoch, "step": 5 * epoch}
    assert run.best()[1] == best | {"CIDEr": cider, "Bleu_4": bleu, "cross_entropy": loss}
    assert "epoch 2: val perplexity 20.09, greedy CIDEr 50.0" in capsys.readouterr().out


def test_without_a_val_split_the_last_is_taken(make_run):
    run = make_run()
    assert run.go(validate=False) == 0
    assert run.best()[1] == {"epoch": 4, "step": 20}
    assert run.scored == []


def test_patience_ends_a_run_that_gets_no_better(make_run, capsys):
    run = make_run([(0.3, 2.0), (0.2, 1.0), (0.3, 2.0), (0.9, 1.0)], patience=2)
    assert run.go() == 0
    assert run.scored == [5, 10, 15]
    assert "no better score in 2 epochs: stopping early" in capsys.readouterr().out
    assert run.go() == 0
    assert len(run.steps) == 15


def test_max_steps_ends_a_run_inside_an_epoch(make_run):
    run = make_run(max_steps=7)
    assert run.go() == 0
    assert run.steps == all_steps()[:7]
    assert run.scored == [5, 7]


def test_the_average_is_scored_and_kept_as_the_best_and_the_weights_go_on(make_run):
    run = make_run([(0.1, 1.0), (0.2, 1.0)], epochs=2, ema_decay=0.5)
    seen = []
    validate = run._validate

    def scored():
        seen.append(run.weight.numpy())
        if len(seen) == 1:  # While the average is in the variables.
            os.kill(os.getpid(), signal.SIGTERM)
        return validate()

    run._validate = scored

    def average(n):
        run.loop.optimizer._averages[0].assign([10.0, 20.0] if n <= STEPS else [30.0, 40.0])

    run.at_step = average
    assert run.go() == STOPPED
    (path,) = run.loop.checkpoints.newest()
    arrays, _ = weights_file.load(path)
    np.testing.assert_array_equal(arrays["weight"], [6.0, 7.0])
    np.testing.assert_array_equal(arrays["optimizer/adam/weight_average"], [10.0, 20.0])
    assert run.go() == 0
    np.testing.assert_array_equal(seen, [[10.0, 20.0], [10.0, 20.0], [30.0, 40.0]])
    np.testing.assert_array_equal(run.best()[0]["weight"], [30.0, 40.0])
    np.testing.assert_array_equal(run.weight, [11.0, 12.0])


@pytest.mark.parametrize("stop_at", range(1, 21))
def test_sigterm_saves_and_the_same_command_goes_on(make_run, stop_at, capsys):
    run = make_run([(0.1, 1.0), (0.2, 1.0), (0.3, 1.0), (0.2, 1.0)])
    all_scored = [5, 10, 15, 20]
    run.at_step = lambda n: os.kill(os.getpid(), signal.SIGTERM) if n == stop_at else None
    assert run.go() == STOPPED
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


def test_ctrl_c_saves_and_says_how_to_go_on(make_run, capsys):
    run = make_run()
    run.at_step = lambda n: os.kill(os.getpid(), signal.SIGINT) if n == 7 else None
    assert run.go() == 130
    (path, *_) = run.loop.checkpoints.newest()
    line = f"stopped at step 7: {path} is saved; run the same command again to continue"
    assert line in capsys.readouterr().err
    assert run.go() == 0
    assert run.steps == all_steps()


def test_sigterm_during_a_validation_stops_at_once_and_it_is_made_up_for(make_run):
    run = make_run()
    validate = run._validate

    def killed():
        if len(run.scored) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("nothing was stopped")
        return validate()

    run._validate = killed
    assert run.go() == STOPPED
    assert len(run.steps) == 10
    assert run.scored == [5]
    run._validate = validate
    assert run.go() == 0
    assert run.steps == all_steps()
    assert run.scored == [5, 10, 15, 20]


def test_a_kill_goes_on_from_the_last_checkpoint(make_run, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)  # after every step
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    run = make_run()

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


def test_every_epoch_has_a_line_of_the_log(make_run):
    run = make_run()
    assert run.go() == 0
    assert run.history("train") == [5, 10, 15, 20]  # far fewer than LOG_STEPS


def test_events_are_cut_as_the_history_is(make_run, monkeypatch, tmp_path):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)  # after every step
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    run = make_run()
    power_cuts = [12, 16, 22]

    def power_cut(n):
        if n in power_cuts:
            raise KeyboardInterrupt

    run.at_step = power_cut
    for _ in power_cuts:
        with pytest.raises(KeyboardInterrupt):
            run.go()
        for path in run.loop.checkpoints.newest()[:1]:  # as if they were saved more rarely
            os.remove(path)
        for path in (tmp_path / "run" / "events").iterdir():
            with open(path, "ab") as file:
                file.write(b"half an event")
    assert run.go() == 0
    logged = events(tmp_path / "run")
    assert logged["train/cross_entropy"] == list(range(1, 21))
    assert logged["val/CIDEr"] == [5, 10, 15, 20]
    accumulator = EventAccumulator(str(tmp_path / "run" / "events"), {"tensors": 0})
    accumulator.Reload()
    curve = accumulator.Tensors("train/cross_entropy")
    assert [event.step for event in curve] == list(range(1, 21))
    assert [event.step for event in accumulator.Tensors("val/CIDEr")] == [5, 10, 15, 20]


def test_means_are_weighted_by_words():
    window = history.StepWindow()
    window.add({"cross_entropy": 1.0, "words": 10.0, "captions": 2.0})
    window.add({"cross_entropy": 4.0, "words": 30.0, "captions": 2.0})
    summary = window.summary()
    assert summary["cross_entropy"] == pytest.approx(3.25)
    assert summary["perplexity"] == pytest.approx(np.exp(3.25))
