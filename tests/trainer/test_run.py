"""`trainer.main` as it is used, on small runs."""

import inspect
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

from artifacts import restore, weights_file
from records import manifest
from tests.support.commands import one_error, run_command, run_process
from tests.support.disk import full_disk
from tests.support.four import FOUR_DETOKENISED
from tests.support.shared import make_once
from tests.support.training import TINY, events, run_evaluate, train
from trainer import loop, main


def stopping(build_step):
    """Return `trainer.step.build_step` whose step sends SIGTERM to its own process, once."""

    def build(*args):
        step, calls = build_step(*args), []

        def stop(*batch):
            calls.append(1)
            if len(calls) == 17:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(*batch)

        return stop

    return build


# The command, sending itself SIGTERM inside its 17th step.
_STOPPED = f"""
import os, runpy, signal, sys
from trainer import loop
{inspect.getsource(stopping)}
loop.build_step = stopping(loop.build_step)
sys.argv = ["trainer.main", *sys.argv[1:]]
runpy.run_module("trainer.main", run_name="__main__")
"""


def newest_weights(run_dir: Path):
    return weights_file.load(str(sorted((run_dir / "checkpoints").glob("step-*.npz"))[-1]))


def history(run_dir: Path, kind: str) -> list[dict]:
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


# Learning.


def test_four_pictures_are_learnt_by_heart(four_run):
    scores = history(four_run, "val")
    assert scores[-1]["cross_entropy"] < 0.05
    assert restore.restore(str(four_run)).note["CIDEr"] == max(score["CIDEr"] for score in scores)


def test_a_run_holds_what_it_is_made_of(four_run):
    config = json.loads((four_run / "config.json").read_text())
    vocabulary = manifest.read_vocabulary(str(four_run))
    assert config["data"]["vocabulary_fingerprint"] == vocabulary.fingerprint
    assert config["model"]["decoder"]["vocabulary_size"] == len(vocabulary)
    assert config["model"]["decoder"]["rnn_units"] == config["training"]["rnn_units"] == 128
    assert [line["step"] for line in history(four_run, "train")] == [50, 100, 150]
    assert history(four_run, "train")[0].keys() > {
        *("total", "cross_entropy", "perplexity", "attention_entropy", "captions_per_second"),
        *("learning_rate", "gradient_norm", "doubly_stochastic", "l2"),
    }
    assert history(four_run, "val")[0].keys() > {"attention_entropy", "temporal_variance"}
    logged = events(four_run)
    assert {"train/gradient_norm", "train/learning_rate", "train/input_wait"} <= logged.keys()
    assert {"val/CIDEr", "val/perplexity", "val/temporal_variance"} <= logged.keys()
    assert logged["val/captions"] == logged["val/attention"] == [50, 100, 150]


def test_captions_of_fixed_images_are_shown_after_each_epoch(four_run):
    samples = four_run / "samples"
    names = [f"step-{step:09d}" for step in (50, 100, 150)]
    assert {path.name for path in samples.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("txt", "png")
    }
    lines = (samples / f"{names[-1]}.txt").read_text().splitlines()
    captions = {int(line.split("\t")[0]): line.split("\t")[1] for line in lines}
    assert captions == FOUR_DETOKENISED
    with Image.open(samples / f"{names[-1]}.png") as picture:
        assert picture.width == 8 * 176
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert len(colours) > 1000


# Stopping and resuming.


# Everything of the recipe that a resumed run could lose.
DETERMINISTIC = {
    "deterministic": True,
    "epochs": 3,
    "ema_decay": 0.9,
    "scheduled_sampling": 0.5,
    "word_dropout": 0.1,
    "schedule": "step",
}


@pytest.fixture(scope="session")
def undisturbed(scenes_records, shared_folder):
    """A run of three epochs of twelve steps. Tests read it and write nothing into it."""

    def make(run_dir: Path) -> None:
        assert train(records_dir=scenes_records, run_dir=run_dir, **DETERMINISTIC) == 0

    return make_once(shared_folder / "undisturbed", make)


def assert_same_run(run_dir, undisturbed):
    """Bit for bit: weights, optimizer, the best, the scores."""
    for name in ("step-000000036.npz", "best.npz"):
        arrays, note = weights_file.load(str(run_dir / "checkpoints" / name))
        expected, expected_note = weights_file.load(str(undisturbed / "checkpoints" / name))
        assert note == expected_note
        assert arrays.keys() == expected.keys()
        for path in expected:
            assert arrays[path].tobytes() == expected[path].tobytes(), path
    assert history(run_dir, "val") == history(undisturbed, "val")


@pytest.mark.parametrize("process", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_sigterm_exits_75_and_the_same_command_ends_at_the_same_weights(
    tmp_path, undisturbed, scenes_records, monkeypatch, capsys, process
):
    """The slow form stops a process; the quick one stops the command in this process."""
    options = {"records_dir": scenes_records, "run_dir": tmp_path / "run", **DETERMINISTIC}
    if process:
        done = run_process("-c", _STOPPED, **TINY, **options)
        code, stderr = done.returncode, done.stderr
    else:
        with monkeypatch.context() as patch:
            patch.setattr(loop, "build_step", stopping(loop.build_step))
            code, stderr = train(**options), capsys.readouterr().err
    assert code == 75, stderr
    assert "stopped at step 17: " in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    assert newest_weights(tmp_path / "run")[1]["step"] == 17
    assert train(**options) == 0
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_damaged_checkpoint_costs_an_epoch_and_no_more(
    tmp_path, undisturbed, capsys, scenes_records
):
    run_dir = tmp_path / "run"
    shutil.copytree(undisturbed, run_dir)
    newest = run_dir / "checkpoints" / "step-000000036.npz"
    newest.write_bytes(newest.read_bytes()[:-1000])
    options = DETERMINISTIC | {"profile_steps": "26:27"}
    assert train(records_dir=scenes_records, run_dir=run_dir, **options) == 0
    assert list((run_dir / "events").glob("plugins/profile/*/*.xplane.pb"))
    err = capsys.readouterr().err
    assert f"warning: skipping a damaged checkpoint: {newest}" in err
    assert "resuming from step 24 of 36" in err
    assert_same_run(run_dir, undisturbed)


def test_help_says_what_the_command_does_and_lists_the_recipe(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "__main__", main)  # as `python -m trainer.main` does
    assert run_command(main, "--help") == 0
    out = capsys.readouterr().out
    assert "python -m trainer.main" in out
    assert "--rnn_units" in out


def test_other_flags_on_the_same_run_are_refused(
    undisturbed, tmp_path, capsys, scenes_records, four_records
):
    run_dir = shutil.copytree(undisturbed, tmp_path / "run")
    same = {"records_dir": scenes_records, "run_dir": run_dir, **DETERMINISTIC}
    assert train(**same) == 0
    capsys.readouterr()
    for name, value in (("rnn_units", 25), ("seed", 2), ("dropout", 0.4), ("batch_size", 5)):
        assert train(**same, **{name: value}) == 2
        expected = f"--{name}={value} contradicts the run, trained with --{name}="
        assert expected in one_error(capsys)
    assert run_evaluate(**same, rnn_units=25) == 2
    assert "--rnn_units=25 contradicts the run" in one_error(capsys)
    assert train(**same | {"records_dir": four_records}) == 1
    assert "its vocabulary is not the one" in one_error(capsys)


def test_weights_that_explode_stop_with_one_line(tmp_path, capsys, scenes_records):
    # The schedule starts at its top: the first update already throws the weights far out.
    options = {"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 1e30}
    code = train(records_dir=scenes_records, run_dir=tmp_path / "run", **options)
    assert code == 1
    error = one_error(capsys)
    assert re.search(r"step \d+: the loss is (nan|inf)|norm (nan|inf)", error)
    assert "the last good checkpoint is none" in error


def test_a_disk_that_fills_up_keeps_the_older_checkpoint(
    tmp_path, undisturbed, capsys, scenes_records
):
    run_dir = tmp_path / "run"
    shutil.copytree(undisturbed, run_dir)
    before = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    size = (run_dir / "checkpoints" / "best.npz").stat().st_size
    with full_disk(size // 2):
        options = DETERMINISTIC | {"epochs": 4}
        same = {"records_dir": scenes_records, "run_dir": run_dir}
        assert train("--extend_schedule", **same, **options) == 1
    error = one_error(capsys)
    assert "the checkpoint cannot be written (File too large)" in error
    assert f"the newest good one is {run_dir}/checkpoints/step-000000036.npz" in error
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == before


# Strict pairs.


@pytest.mark.slow
@pytest.mark.usefixtures("without_meteor")
def test_strict_pairs_train_and_give_one_caption_an_image(tmp_path, scenes_pairs):
    run_dir, pairs = tmp_path / "run", scenes_pairs
    assert train(records_dir=pairs, run_dir=run_dir, epochs=1, batch_size=20) == 0
    assert newest_weights(run_dir)[1]["step"] == 12  # 240 pairs
    assert run_evaluate(run_dir=run_dir, records_dir=pairs, output_dir=tmp_path / "out") == 0
    captions = json.loads((tmp_path / "out" / "captions_val_run_results.json").read_text())
    assert len(captions) == len({entry["image_id"] for entry in captions}) == 6
    references = COCO(str(tmp_path / "out" / "captions_val_references.json"))
    assert len(references.getAnnIds()) == 30
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (report["images"], report["listed"]) == (6, 6)


# Wrong usage, in one line each.


def test_what_is_missing_or_unknown(tmp_path, capsys, scenes_records):
    none, run_dir = tmp_path / "none", tmp_path / "run"
    assert train(run_dir=run_dir) == 2
    assert "--records_dir is missing" in one_error(capsys)
    assert train(records_dir=none) == 2
    assert "--run_dir is missing" in one_error(capsys)
    assert train(records_dir=none, run_dir=run_dir) == 1
    assert f"{none}: not a finished data set" in one_error(capsys)
    assert train(records_dir=none, run_dir=run_dir, rnn_unit=3) == 2
    assert "rnn_unit" in one_error(capsys)
    assert train("stray", records_dir=none, run_dir=run_dir) == 2
    assert "unexpected argument 'stray'" in one_error(capsys)
    assert train(records_dir=none, run_dir=run_dir, profile_steps="9:8") == 2
    assert "--profile_steps=9:8: expected the first and the last step" in one_error(capsys)
    assert train(records_dir=none, run_dir=run_dir, dropout=1.5) == 2
    assert "dropout" in one_error(capsys)
    assert train(records_dir=none, run_dir=run_dir, encoder="vgg") == 2
    assert "encoder" in one_error(capsys)
    assert train(records_dir=scenes_records, run_dir=run_dir, encoder_weights=none) == 1
    assert f"--encoder_weights={none}: no such file" in one_error(capsys)
    assert train(records_dir=scenes_records, run_dir=run_dir, encoder_weights="imagenet") == 1
    assert "small_cnn has no ImageNet weights" in one_error(capsys)
    (tmp_path / "file").write_text("")
    assert train(records_dir=scenes_records, run_dir=tmp_path / "file" / "run") == 1
    assert f"{tmp_path}/file/run: cannot be written (Not a directory)" in one_error(capsys)
    assert not run_dir.exists()


def test_as_a_process_a_failure_is_one_line(tmp_path):
    paths = {"records_dir": tmp_path / "none", "run_dir": tmp_path / "run"}
    done = run_process("-m", "trainer.main", **paths)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: .*not a finished data set.*\n", done.stderr)
