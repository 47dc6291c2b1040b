"""`evaluation.main` as it is used, on small runs."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from artifacts import restore
from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from evaluation import main
from metrics.names import METRICS
from metrics.summary import table
from records import manifest
from tests.support.commands import one_error, run_command
from tests.support.four import FOUR, FOUR_DETOKENISED
from tests.support.training import run_evaluate

pytestmark = pytest.mark.usefixtures("kept_replicas")


def captions_of(path: Path) -> dict[int, str]:
    """Return image id -> caption of a results file."""
    return {entry["image_id"]: entry["caption"] for entry in json.loads(path.read_text())}


@pytest.mark.usefixtures("with_kept_meteor")
def test_four_pictures_are_captioned_word_for_word(capsys, four_run_copy, four_records):
    page = four_run_copy / "page"
    assert run_evaluate(run_dir=four_run_copy, records_dir=four_records, report=page) == 0
    out = capsys.readouterr().out
    folder = four_run_copy / "evaluation" / "val"
    assert {path.name for path in folder.iterdir()} == {
        "captions_val_four-run.jsonl",
        "captions_val_four-run_results.json",
        "captions_val_references.json",
        "images.json",
        "metrics.json",
        "parts",
    }
    assert captions_of(folder / "captions_val_four-run_results.json") == FOUR_DETOKENISED
    # COCO's own code reads both files.
    coco = COCO(str(folder / "captions_val_references.json"))
    results = coco.loadRes(str(folder / "captions_val_four-run_results.json"))
    assert sorted(results.getImgIds()) == sorted(FOUR)
    assert {a["image_id"]: a["caption"] for a in coco.dataset["annotations"]} == FOUR
    report = json.loads((folder / "metrics.json").read_text())
    assert_report_of_four(report)
    of_images = json.loads((folder / "images.json").read_text())["images"]
    assert of_images.keys() == set(map(str, FOUR))
    assert of_images["1"].keys() == report["metrics"].keys()
    note = restore.restore(str(four_run_copy)).note
    assert f"weights of epoch {note['epoch']}, step {note['step']}" in out
    assert table(report["metrics"]) in out
    assert f"report: {page / 'index.html'}" in out
    html = (page / "index.html").read_text()
    # Four pictures, and of each word where it looked.
    assert html.count("<img ") == 4 + sum(len(text.split()) for text in FOUR.values())
    assert "two cats sleep on the old red sofa</p>" in html
    # SPICE's models are missing, and the page says so without a folder of this machine.
    assert "SPICE is unavailable: " in html
    for folder in (four_run_copy.parent, "site-packages", Path.home()):
        assert f"{folder}/" not in html
    assert "pytest-of-" not in html


def assert_report_of_four(report: dict) -> None:
    """Check metrics.json of the four pictures, captioned without a mistake."""
    assert (report["run"], report["dataset"], report["split"]) == ("four-run", "coco2017", "val")
    assert (report["images"], report["listed"]) == (4, 4)
    assert report["search"] == {
        "beam_size": 3,
        "length_penalty": 0.7,
        "no_repeat_ngram": 3,
        "min_length": 0,
        "max_words": 30,
    }
    assert {*report["metrics"], *report["unavailable"]} == set(METRICS)
    assert report["intervals"].keys() == report["metrics"].keys()
    assert report["metrics"]["Bleu_1"] == pytest.approx(1)
    assert report["metrics"]["CIDEr"] > 9
    assert report["diversity"]["distinct_captions"] == 1
    assert report["attention"]["images"] == 4
    assert 0 < report["attention"]["temporal_variance"] < 1
    faithfulness = report["attention"]["faithfulness"]
    assert (faithfulness["hidden"], faithfulness["places"]) == (6, 64)
    assert faithfulness["ratio"] > 1  # the four captions are learnt by heart from what it saw
    assert "pointing" not in report  # only of scenes


@pytest.mark.usefixtures("without_meteor")
def test_evaluate_on_other_records_than_those_of_the_run(
    tmp_path, capsys, four_run, scenes_records, scenes_data
):
    code = run_evaluate(
        run_dir=four_run, records_dir=scenes_records, split="test", output_dir=tmp_path
    )
    assert code == 0
    out = capsys.readouterr().out.splitlines()
    captions = captions_of(tmp_path / "captions_test_four-run_results.json")
    words = {word for text in captions.values() for word in text.replace("'s", " 's").split()}
    assert words <= set(manifest.read_vocabulary(str(four_run)).words)
    references = COCO(str(tmp_path / "captions_test_references.json"))
    assert sorted(references.getImgIds()) == sorted(captions)
    annotated = json.loads((scenes_data / "annotations" / "captions_test2017.json").read_text())
    assert sorted(a["caption"] for a in references.dataset["annotations"]) == sorted(
        a["caption"] for a in annotated["annotations"]
    )
    # The scenes' own lines, last.
    report = json.loads((tmp_path / "metrics.json").read_text())
    facts, other_facts = report["facts_true"], report["facts_true_other_image"]
    cider = report["leave_one_out_CIDEr"]
    assert out[-3].startswith("attention: ")
    assert out[-2].startswith("faithfulness ")
    assert out[-1].startswith("pointing: 0% of 0 colour and shape words")
    assert out[-5:-3] == [
        f"facts true: {facts:.0%} (other image: {other_facts:.0%})",
        f"CIDEr with one reference fewer: captions {cider['captions']:.2f},"
        f" references {cider['references']:.2f}",
    ]
    assert facts == other_facts == 0  # no scene has a dog
    assert cider["references"] > 0.3
    assert (cider["images"], cider["single"]) == (6, 0)


@pytest.mark.usefixtures("without_meteor")
def test_the_flags_of_the_search_reach_it(tmp_path, four_run, four_records):
    search = {"beam_size": 2, "length_penalty": 0.9, "no_repeat_ngram": 1, "min_length": 9}
    same = {"run_dir": four_run, "records_dir": four_records, "output_dir": tmp_path}
    assert run_evaluate(**same, **search) == 0
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["search"] == search | {"max_words": 30}
    for caption in captions_of(tmp_path / "captions_val_four-run_results.json").values():
        words = caption.replace("'s", " 's").split()
        assert len(set(words)) == len(words) >= 9


@pytest.mark.usefixtures("without_meteor")
def test_several_runs_are_scored_as_one(tmp_path, capsys, four_records, four_run):
    pair = {"run_dir": f"{four_run},{four_run}", "records_dir": four_records}
    assert run_evaluate(**pair) == 2
    assert "--output_dir is missing" in one_error(capsys)
    assert run_evaluate(**pair, output_dir=tmp_path / "out") == 0
    assert capsys.readouterr().out.count("weights of epoch") == 2
    path = tmp_path / "out" / "captions_val_four-run+four-run_results.json"
    assert captions_of(path) == FOUR_DETOKENISED
    other_run = tmp_path / "other"
    shutil.copytree(four_run, other_run, ignore=shutil.ignore_patterns("events"))
    folder = RunFolder(str(other_run))
    config = RunConfig.read(folder)
    data = dataclasses.replace(config.data, vocabulary_fingerprint="0" * 64)
    dataclasses.replace(config, data=data).write(folder)
    pair["run_dir"] = f"{four_run},{other_run}"
    assert run_evaluate(**pair, output_dir=tmp_path / "out") == 1
    assert f"{other_run}: its vocabulary is not the one of {four_run}" in one_error(capsys)


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


def test_records_of_the_run_are_taken_where_none_are_given(
    capsys, four_run_copy, four_records, monkeypatch
):
    taken = []
    monkeypatch.setattr(main.split, "evaluate", lambda *args: taken.append(args[2]) or 0)
    assert run_evaluate(run_dir=four_run_copy) == 0
    assert taken == [str(four_records)]
    assert f"--records_dir={four_records}: no other is given" in capsys.readouterr().out
    monkeypatch.setattr(main.os.path, "isdir", lambda path: False)
    assert run_evaluate(run_dir=four_run_copy) == 2
    assert "--records_dir is missing" in one_error(capsys)


def test_help_says_what_the_command_does_and_lists_the_recipe(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert run_command(main, "--help") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "python -m evaluation.main" in captured.out
    assert "--rnn_units" in captured.out and "Flags of the training are listed" in captured.out
