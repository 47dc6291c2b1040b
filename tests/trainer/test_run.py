"""`trainer.main` and `evaluation.main` as they are used: real runs, small ones."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

from artifacts import restore, weights_file
from metrics.names import METRICS
from metrics.summary import table
from records import manifest
from tests.support.commands import ROOT, one_error, users_environment
from tests.support.disk import full_disk
from tests.support.four import FOUR, FOUR_DETOKENISED
from tests.support.training import TINY, events, run_evaluate, train

# The command, sending itself SIGTERM inside its 17th step.
_STOPPED = """
import os, runpy, signal, sys
from trainer import loop
build_step = loop.build_step
def stopping(*args):
    step, calls = build_step(*args), []
    def stop(*batch):
        calls.append(1)
        if len(calls) == 17:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*batch)
    return stop
loop.build_step = stopping
sys.argv = ["trainer.main", *sys.argv[1:]]
runpy.run_module("trainer.main", run_name="__main__")
"""


def process(*args: str, module="trainer.main", code=None, **options):
    """A command as a process of its own, without this one's settings for tests."""
    program = ["-c", code] if code else ["-m", module]
    named = (f"--{name}={value}" for name, value in options.items())
    return subprocess.run(
        [sys.executable, *program, *args, *named],
        cwd=ROOT,
        env=users_environment(),
        capture_output=True,
        text=True,
    )


def newest_weights(run_dir: Path):
    return weights_file.load(str(sorted((run_dir / "checkpoints").glob("step-*.npz"))[-1]))


def history(run_dir: Path, kind: str) -> list[dict]:
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


# Learning.


def test_four_pictures_are_learnt_word_for_word(capsys, four_run_copy, four_records):
    run_dir = four_run_copy
    last = history(run_dir, "val")[-1]
    assert last["cross_entropy"] < 0.05
    note = restore.restore(str(run_dir)).note
    assert note["CIDEr"] == max(line["CIDEr"] for line in history(run_dir, "val"))
    page = run_dir / "page"
    assert run_evaluate(run_dir=run_dir, records_dir=four_records, report=page) == 0
    out = capsys.readouterr().out
    assert f"weights of epoch {note['epoch']}, step {note['step']}" in out
    written = {path.name: path for path in (run_dir / "evaluation" / "val").iterdir()}
    assert written.keys() == {
        "captions_val_four-run.jsonl",
        "captions_val_four-run_results.json",
        "captions_val_references.json",
        "images.json",
        "metrics.json",
        "parts",
    }
    said = json.loads(written["captions_val_four-run_results.json"].read_text())
    assert {entry["image_id"]: entry["caption"] for entry in said} == FOUR_DETOKENISED
    # COCO's own code reads both files.
    coco = COCO(str(written["captions_val_references.json"]))
    results = coco.loadRes(str(written["captions_val_four-run_results.json"]))
    assert sorted(results.getImgIds()) == sorted(FOUR)
    assert {a["image_id"]: a["caption"] for a in coco.dataset["annotations"]} == FOUR
    report = json.loads(written["metrics.json"].read_text())
    assert (report["run"], report["dataset"], report["split"]) == ("four-run", "coco2017", "val")
    assert (report["images"], report["listed"]) == (4, 4)
    assert report["search"] == {
        "beam_size": 3,
        "length_penalty": 0.7,
        "no_repeat_ngram": 3,
        "min_length": 0,
    }
    assert {*report["metrics"], *report["unavailable"]} == set(METRICS)
    assert report["intervals"].keys() == report["metrics"].keys()
    assert report["diversity"]["distinct_captions"] == 1
    assert report["attention"]["images"] == 4
    assert 0 < report["attention"]["temporal_variance"] < 1
    assert "pointing" not in report  # only of scenes
    html = (page / "index.html").read_text()
    assert f"report: {page / 'index.html'}" in out
    # Four pictures, and of each word where it looked.
    assert html.count("<img ") == 4 + sum(len(text.split()) for text in FOUR.values())
    assert "two cats sleep on the old red sofa</p>" in html
    of_images = json.loads(written["images.json"].read_text())["images"]
    assert of_images.keys() == set(map(str, FOUR))
    assert of_images["1"].keys() == report["metrics"].keys()
    assert report["metrics"]["Bleu_1"] == pytest.approx(1)
    assert report["metrics"]["CIDEr"] > 9
    assert table(report["metrics"]) in out


def test_a_run_holds_what_it_is_made_of(four_run):
    config = json.loads((four_run / "config.json").read_text())
    vocabulary = manifest.read_vocabulary(str(four_run))
    assert config["data"]["vocabulary_fingerprint"] == vocabulary.fingerprint
    assert config["model"]["decoder"]["vocabulary_size"] == len(vocabulary)
    assert config["model"]["decoder"]["rnn_units"] == config["training"]["rnn_units"] == 128
    assert [line["step"] for line in history(four_run, "train")] == [50, 100, 150, 200]
    assert history(four_run, "train")[0].keys() > {
        *("total", "cross_entropy", "perplexity", "attention_entropy", "captions_per_second"),
        *("learning_rate", "gradient_norm", "doubly_stochastic", "l2"),
    }
    assert history(four_run, "val")[0].keys() > {"attention_entropy", "temporal_variance"}
    logged = events(four_run)
    assert {"train/gradient_norm", "train/learning_rate", "train/input_wait"} <= logged.keys()
    assert {"val/CIDEr", "val/perplexity", "val/temporal_variance"} <= logged.keys()
    assert logged["val/captions"] == logged["val/attention"] == [50, 100, 150, 200]


def test_captions_of_fixed_images_are_shown_after_each_epoch(four_run):
    samples = four_run / "samples"
    names = [f"step-{step:09d}" for step in (50, 100, 150, 200)]
    assert {path.name for path in samples.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("txt", "png")
    }
    lines = (samples / f"{names[-1]}.txt").read_text().splitlines()
    said = {int(line.split("\t")[0]): line.split("\t")[1] for line in lines}
    assert said == FOUR_DETOKENISED
    with Image.open(samples / f"{names[-1]}.png") as picture:
        assert picture.width == 8 * 176
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert len(colours) > 1000


# Stopping and going on.


DETERMINISTIC = {"deterministic": True, "epochs": 3}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, scenes_records):
    """A run of three epochs of twelve steps."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    assert train(records_dir=scenes_records, run_dir=run_dir, **DETERMINISTIC) == 0
    return run_dir


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


def test_sigterm_exits_75_and_the_same_command_ends_at_the_same_weights(
    tmp_path, undisturbed, scenes_records
):
    options = {"records_dir": scenes_records, "run_dir": tmp_path / "run", **DETERMINISTIC}
    done = process(code=_STOPPED, **TINY, **options)
    assert done.returncode == 75, done.stderr
    assert "stopped at step 17: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
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


@pytest.mark.parametrize("module", ["trainer.main", "evaluation.main"])
def test_help_says_what_the_command_does_and_lists_the_recipe(module):
    done = process("--help", module=module)
    assert done.returncode == 0
    assert f"python -m {module}" in done.stdout
    assert "--rnn_units" in done.stdout


def test_other_flags_on_the_same_run_are_refused(undisturbed, capsys, scenes_records, four_records):
    same = {"records_dir": scenes_records, "run_dir": undisturbed, "deterministic": True}
    assert train(**same, epochs=3) == 0
    capsys.readouterr()
    for name, value in (("rnn_units", 25), ("seed", 2), ("dropout", 0.4), ("batch_size", 5)):
        assert train(**same, **{name: value}) == 2
        said = one_error(capsys)
        assert f"--{name}={value} contradicts the run, trained with --{name}=" in said
    assert run_evaluate(**same, rnn_units=25) == 2
    assert "--rnn_units=25 contradicts the run" in one_error(capsys)
    assert train(**same | {"records_dir": four_records}) == 1
    assert "its vocabulary is not the one" in one_error(capsys)


def test_weights_that_explode_stop_with_one_line(tmp_path, capsys, scenes_records):
    # The schedule starts at its top: the first update already throws the weights far out.
    options = {"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 1e30}
    code = train(records_dir=scenes_records, run_dir=tmp_path / "run", **options)
    assert code == 1
    said = one_error(capsys)
    assert re.search(r"step \d+: the loss is (nan|inf)", said) or "norm (nan|inf)" in said
    assert "the last good checkpoint is none" in said


def test_a_disk_that_fills_up_keeps_the_older_checkpoint(
    tmp_path, undisturbed, capsys, scenes_records
):
    run_dir = tmp_path / "run"
    shutil.copytree(undisturbed, run_dir)
    before = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    size = (run_dir / "checkpoints" / "best.npz").stat().st_size
    with full_disk(size // 2):
        options = DETERMINISTIC | {"epochs": 4}
        assert train(records_dir=scenes_records, run_dir=run_dir, **options) == 1
    said = one_error(capsys)
    assert "the checkpoint cannot be written (File too large)" in said
    assert f"the newest good one is {run_dir}/checkpoints/step-000000036.npz" in said
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == before


# Strict pairs, other records.


@pytest.mark.usefixtures("without_meteor")
def test_strict_pairs_train_and_give_one_caption_an_image(tmp_path, scenes_pairs):
    run_dir, pairs = tmp_path / "run", scenes_pairs
    assert train(records_dir=pairs, run_dir=run_dir, epochs=1, batch_size=20) == 0
    assert newest_weights(run_dir)[1]["step"] == 12  # 240 pairs
    assert run_evaluate(run_dir=run_dir, records_dir=pairs, output_dir=tmp_path / "out") == 0
    said = json.loads((tmp_path / "out" / "captions_val_run_results.json").read_text())
    assert len(said) == len({entry["image_id"] for entry in said}) == 6
    references = COCO(str(tmp_path / "out" / "captions_val_references.json"))
    assert len(references.getAnnIds()) == 30
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (report["images"], report["listed"]) == (6, 6)


@pytest.mark.usefixtures("without_meteor")
def test_evaluate_on_other_records_than_those_of_the_run(
    tmp_path, capsys, four_run, scenes_records, scenes_data
):
    code = run_evaluate(
        run_dir=four_run, records_dir=scenes_records, split="test", output_dir=tmp_path
    )
    assert code == 0
    out = capsys.readouterr().out.splitlines()
    said = json.loads((tmp_path / "captions_test_four-run_results.json").read_text())
    words = {word for entry in said for word in entry["caption"].replace("'s", " 's").split()}
    assert words <= set(manifest.read_vocabulary(str(four_run)).words)
    references = COCO(str(tmp_path / "captions_test_references.json"))
    assert sorted(references.getImgIds()) == sorted(entry["image_id"] for entry in said)
    annotated = json.loads((scenes_data / "annotations" / "captions_test2017.json").read_text())
    assert sorted(a["caption"] for a in references.dataset["annotations"]) == sorted(
        a["caption"] for a in annotated["annotations"]
    )
    # The scenes' own lines, last.
    report = json.loads((tmp_path / "metrics.json").read_text())
    facts, other = report["facts_true"], report["facts_true_other_image"]
    assert out[-2].startswith("attention: ")
    assert out[-1].startswith("pointing: 0% of 0 colour and shape words")
    assert out[-4:-2] == [
        f"facts true: {facts:.0%} (other image: {other:.0%})",
        f"CIDEr {report['metrics']['CIDEr']:.2f} (references {report['references_CIDEr']:.2f})",
    ]
    assert facts == other == 0  # no scene has a dog
    assert report["references_CIDEr"] > 0.3


@pytest.mark.usefixtures("without_meteor")
def test_the_flags_of_the_search_reach_it(tmp_path, four_run, four_records):
    search = {"beam_size": 2, "length_penalty": 0.9, "no_repeat_ngram": 1, "min_length": 9}
    same = {"run_dir": four_run, "records_dir": four_records, "output_dir": tmp_path}
    assert run_evaluate(**same, **search) == 0
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["search"] == search
    said = json.loads((tmp_path / "captions_val_four-run_results.json").read_text())
    for entry in said:
        words = entry["caption"].replace("'s", " 's").split()
        assert len(set(words)) == len(words) >= 9


@pytest.mark.usefixtures("without_meteor")
def test_several_runs_are_scored_as_one(tmp_path, capsys, four_records, four_run):
    pair = {"run_dir": f"{four_run},{four_run}", "records_dir": four_records}
    assert run_evaluate(**pair) == 2
    assert "--output_dir is missing" in one_error(capsys)
    assert run_evaluate(**pair, output_dir=tmp_path / "out") == 0
    assert capsys.readouterr().out.count("weights of epoch") == 2
    path = tmp_path / "out" / "captions_val_four-run+four-run_results.json"
    said = {entry["image_id"]: entry["caption"] for entry in json.loads(path.read_text())}
    assert said == FOUR_DETOKENISED
    other = tmp_path / "other"
    shutil.copytree(four_run, other, ignore=shutil.ignore_patterns("events"))
    config = json.loads((other / "config.json").read_text())
    config["data"]["vocabulary_fingerprint"] = "0" * 64
    (other / "config.json").write_text(json.dumps(config))
    pair["run_dir"] = f"{four_run},{other}"
    assert run_evaluate(**pair, output_dir=tmp_path / "out") == 1
    assert f"{other}: its vocabulary is not the one of {four_run}" in one_error(capsys)


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
    records = scenes_records
    assert train(records_dir=records, run_dir=run_dir, encoder_weights=none) == 1
    assert f"--encoder_weights={none}: no such file" in one_error(capsys)
    assert train(records_dir=records, run_dir=run_dir, encoder_weights="imagenet") == 1
    assert "small_cnn has no ImageNet weights" in one_error(capsys)
    (tmp_path / "file").write_text("")
    assert train(records_dir=records, run_dir=tmp_path / "file" / "run") == 1
    assert "the run cannot be written" in one_error(capsys)
    assert not run_dir.exists()


def test_evaluate_without_a_run(tmp_path, capsys, scenes_records, four_run, four_records):
    assert run_evaluate(records_dir=scenes_records) == 2
    assert "--run_dir is missing" in one_error(capsys)
    assert run_evaluate(records_dir=scenes_records, run_dir=tmp_path / "run") == 1
    assert f"{tmp_path / 'run'}: no run here" in one_error(capsys)
    assert run_evaluate(records_dir=tmp_path, run_dir=four_run) == 1
    assert "not a finished data set" in one_error(capsys)
    assert run_evaluate(records_dir=four_records, run_dir=four_run, split="test") == 1
    assert "no split 'test'; it has train, val" in one_error(capsys)
    assert run_evaluate(records_dir=four_records, run_dir=four_run, split="tset") == 2
    assert "split" in one_error(capsys)


def test_as_a_process_a_failure_is_one_line(tmp_path):
    done = process(records_dir=tmp_path / "none", run_dir=tmp_path / "run")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: .*not a finished data set.*\n", done.stderr)
