"""Scripts that are not Latin from captions to ids, to captions, to results and scores."""

import json
import shutil
from types import SimpleNamespace

import pytest

from cli import command
from evaluation import score, split, words
from records import manifest
from serving import caption
from tests.support.commands import one_error, run_command
from tests.support.four import build_four, four_picture, train_four
from tests.support.records import CocoFolder, build_coco
from tests.support.shared import make_once
from tests.support.training import run_evaluate

# Slow, because a run of its own is trained. Quick are the tests of the scripts and of the scores.
pytestmark = [pytest.mark.usefixtures("kept_replicas"), pytest.mark.slow]
SCRIPTS = {
    1: "一只狗 iphone 在跑",
    2: "два кота спят на диване",
    3: "الطائرة الورقية فوق البحر",
    4: "เด็กกินน้ำแข็ง 🐶",
}


@pytest.fixture(scope="session")
def scripts_run(shared_folder):
    """Train a run that knows the four pictures by heart, in four scripts."""
    records = shared_folder / "scripts-records"

    def make(run_dir):
        build_four(shared_folder / "scripts", records, SCRIPTS, language="ZH")
        train_four(records, run_dir)

    return make_once(shared_folder / "scripts-run", make), records


@pytest.fixture
def copied_run(scripts_run, tmp_path):
    run_dir, records = scripts_run
    return shutil.copytree(run_dir, tmp_path / "scripts-run"), records


def test_captions_are_those_of_the_pictures(copied_run, tmp_path, capsys):
    run_dir, records = copied_run
    assert manifest.read_info(str(records)).flags.language == "zh"
    page = tmp_path / "page"
    assert run_evaluate(run_dir=run_dir, records_dir=records, report=page) == 0
    printed = capsys.readouterr().out
    folder = run_dir / "evaluation" / "val"
    text = (folder / "captions_val_scripts-run_results.json").read_text("utf-8")
    for path in folder.glob("captions_val_*.json*"):
        assert all(said in path.read_text("utf-8") for said in SCRIPTS.values()), path
    results = json.loads(text)
    assert {line["image_id"]: line["caption"] for line in results} == SCRIPTS
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["language"], metrics["unknown_words"]) == ("zh", 0)
    assert metrics["metrics"]["Bleu_4"] == pytest.approx(1)
    assert set(metrics["unavailable"]) == {"METEOR", "SPICE"}
    assert metrics["diversity"]["bad_endings"] is None
    assert "METEOR unavailable: it is for English" in printed
    assert "0.0% of the references' 25 words are unknown to the model" in printed
    assert "--language=TAG" not in printed
    html = (page / "index.html").read_text()
    assert "METEOR is unavailable: it is for English" in html and "bad endings" not in html
    for text in SCRIPTS.values():
        assert text in html


def test_serving_says_them_too(scripts_run, tmp_path, capsys):
    paths = []
    for image_id in SCRIPTS:
        paths.append(tmp_path / f"{image_id}.jpg")
        paths[-1].write_bytes(four_picture(image_id))
    values, _ = command.parse(["caption", f"--run_dir={scripts_run[0]}"], caption.define_flags)
    assert caption.main(values, list(map(str, paths))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[1] for line in lines] == list(SCRIPTS.values())


@pytest.mark.usefixtures("with_kept_meteor")
def test_the_language_is_the_flags_first_then_the_records_then_the_runs(
    copied_run, tmp_path, capsys
):
    run_dir, records = copied_run
    unsaid = tmp_path / "records"
    shutil.copytree(records, unsaid)
    info = json.loads((unsaid / "dataset_info.json").read_text())
    info["flags"]["language"] = None
    (unsaid / "dataset_info.json").write_text(json.dumps(info))
    earlier = tmp_path / "earlier"  # as of a version without languages
    shutil.copytree(records, earlier)
    del info["flags"]["language"]
    (earlier / "dataset_info.json").write_text(json.dumps(info))
    for place, options, expected in (
        (records, {"language": "th"}, "th"),
        (records, {}, "zh"),
        (unsaid, {}, "en"),
        (unsaid, {"language": "zh"}, "zh"),
        (earlier, {}, "zh"),
    ):
        assert run_evaluate(run_dir=run_dir, records_dir=place, **options) == 0
        metrics = json.loads((run_dir / "evaluation" / "val" / "metrics.json").read_text())
        assert metrics["language"] == expected
    assert f"the results of --records_dir={unsaid} --split=val in " in capsys.readouterr().out


@pytest.mark.usefixtures("without_meteor")
def test_captions_that_are_not_english_are_noticed(copied_run, tmp_path, capsys, monkeypatch):
    run_dir, _ = copied_run
    records = tmp_path / "records"
    build_four(tmp_path / "data", records, SCRIPTS)
    assert "% of the captions' letters are not Latin" in capsys.readouterr().out
    unknown = SimpleNamespace(read=lambda folder: None)  # as of a run that says no language
    monkeypatch.setattr(words, "provenance", unknown)
    assert run_evaluate(run_dir=run_dir, records_dir=records) == 0
    assert "give --language=TAG" in capsys.readouterr().out
    folder = run_dir / "evaluation" / "val"
    assert json.loads((folder / "metrics.json").read_text())["language"] == "en"
    files = {
        "results": folder / "captions_val_scripts-run_results.json",
        "annotations": folder / "captions_val_references.json",
    }
    assert run_command(score, **files) == 0
    assert "give --language=TAG" in capsys.readouterr().out
    assert run_command(score, **files, language="zh") == 0
    printed = capsys.readouterr().out
    assert "give --language=TAG" not in printed and " 100.0 " in printed


def test_unknown_words_are_a_warning(four_run_copy, scripts_run, capsys):
    options = {"records_dir": scripts_run[1], "language": "zh"}
    assert run_evaluate("--allow_leak", run_dir=four_run_copy, **options) == 0
    printed = capsys.readouterr().out
    assert "100.0% of the references' 25 words are unknown to the model\nwarning: " in printed
    assert "the captions that it was trained on lack them" in printed
    assert "--min_word_count" not in printed


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"max_vocabulary": 3}, "build records with more than --max_vocabulary=3, and train on"),
        ({"max_vocabulary": 99}, "the captions that it was trained on lack them"),
        (
            {"max_vocabulary": 99, "min_word_count": 2},
            "build records with a lower --min_word_count, or",
        ),
    ],
)
def test_the_remedy_for_unknown_words_is_what_left_them_out(
    tmp_path, monkeypatch, capsys, options, remedy
):
    records = tmp_path / "records"  # A run has a vocabulary of the same name.
    info = build_coco(CocoFolder(tmp_path / "coco"), records, **options)
    monkeypatch.setattr(words, "provenance", SimpleNamespace(read=lambda folder: info))
    assert words.unknown_share(str(records), {1: ["zebras graze"]}) == 1
    assert f"warning: the model cannot say them: {remedy}" in capsys.readouterr().out


def test_an_evaluation_of_empty_captions_is_an_error(copied_run, monkeypatch, capsys):
    run_dir, records = copied_run
    by_image = split._by_image

    def without_words(state):
        captions, references = by_image(state)
        return dict.fromkeys(captions, ""), references

    monkeypatch.setattr(split, "_by_image", without_words)
    assert run_evaluate(run_dir=run_dir, records_dir=records) == 1
    assert "all 4 captions of " in one_error(capsys)
    assert {path.name for path in (run_dir / "evaluation" / "val").iterdir()} == {"parts"}


@pytest.mark.parametrize("module", ["evaluation", "score", "build"])
def test_a_language_that_is_no_tag_is_wrong_usage(module, scripts_run, tmp_path, capsys):
    run_dir, records = scripts_run
    if module == "evaluation":
        code = run_evaluate(run_dir=run_dir, records_dir=records, language="Chinese")
    elif module == "score":
        code = run_command(score, results="r.json", annotations="a.json", language="Chinese")
    else:
        from pipeline import build_records

        options = {"dataset": "scenes", "data_dir": tmp_path / "d", "output_dir": tmp_path / "o"}
        code = run_command(build_records, language="Chinese", **options)
    assert code == 2
    assert "--language=Chinese: expected the tag of a language" in one_error(capsys)
    assert not (tmp_path / "o").exists()
