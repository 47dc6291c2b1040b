"""`evaluation.score` scores any COCO results file, or says in one line why it cannot."""

import json
import os
import subprocess
import sys

import pytest

from evaluation import score
from metrics import coco_files, official
from metrics.summary import table
from tests.support.commands import ROOT, run_command

REFERENCES = {
    42: ["A dog runs.", "The dog is running on the beach", "a dog at the sea"],
    7: ["Two cats sleep.", "cats on a sofa\nasleep", "a pair of cats"],
    99: ["A café in a street", "people sit at the café 😀"],
    5: ["A red bus.", "the bus waits"],
}
CAPTIONS = {99: "people in a café \u2028 😀", 42: "a dog runs on the beach", 7: "two dogs"}


def run_score(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "evaluation.score", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def files(tmp_path):
    coco_files.write_results(tmp_path / "R.json", CAPTIONS)
    coco_files.write_references(tmp_path / "A.json", REFERENCES)
    return tmp_path


@pytest.mark.slow  # Starts the Java programs.
@pytest.mark.usefixtures("without_meteor")
def test_scores_part_of_the_images(files):
    # In a locale that knows ASCII only, the captions must arrive whole all the same.
    arguments = [f"--results={files}/R.json", f"--annotations={files}/A.json"]
    output = files / "new" / "S.json"
    done = run_score(*arguments, f"--output={output}", LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    written = json.loads(output.read_text())
    assert set(written) == {
        *("language", "metrics", "intervals", "unavailable", "notes", "diversity", "images")
    }
    images = {int(image_id): values for image_id, values in written["images"].items()}
    intervals = {name: tuple(ends) for name, ends in written["intervals"].items()}
    printed = table(written["metrics"], written["unavailable"], intervals=intervals)
    assert done.stdout.startswith(f"3 of 4 images\n{printed}\n3 images are few: CIDEr ")
    assert "mean length 4.0 words (references 4.6)" in done.stdout
    expected = official.evaluate(REFERENCES, CAPTIONS)
    for values in (written["metrics"], *images.values()):
        assert 0.05 < values.pop("METEOR") < 1
    assert (written["metrics"], images) == (expected.metrics, expected.images)
    assert done.stderr.splitlines() == ["tokenising 11 captions ...", "scoring 3 images ..."]
    assert [path.name for path in output.parent.iterdir()] == ["S.json"]


@pytest.mark.usefixtures("with_kept_meteor")
def test_a_baseline_is_compared_on_the_images_of_both(files, capsys):
    others = {7: "two cats asleep on a sofa", 42: "a dog runs on the beach", 5: "a red bus"}
    coco_files.write_results(files / "B.json", others)
    letters = {"results": "R", "annotations": "A", "baseline": "B", "output": "S"}
    options = {name: files / f"{letter}.json" for name, letter in letters.items()}
    assert run_command(score, **options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"{files}/R.json: 1 of its 3 images are left out: not in both",
        f"{files}/B.json: 1 of its 3 images are left out: not in both",
        "2 of 4 images",
    ]
    written = json.loads((files / "S.json").read_text())
    differences = written["baseline"]["differences"]
    assert list(differences) == list(written["metrics"])
    for name, values in differences.items():
        assert values["low"] <= values["difference"] <= values["high"], name
        expected = written["metrics"][name] - written["baseline"]["metrics"][name]
        assert values["difference"] == pytest.approx(expected, abs=1e-9), name
    rows = lines[-8:]
    assert rows[0].split() == ["this", "baseline", "difference", "95%", "interval", "p"]
    cider, system, baseline, difference, low, dots, high, p = rows[-1].split()
    assert (cider, dots) == ("CIDEr", "..")
    assert float(difference) == pytest.approx(float(system) - float(baseline), abs=0.11)
    assert float(difference) == round(100 * differences["CIDEr"]["difference"], 1)
    assert (low, high) == tuple(f"{100 * differences['CIDEr'][k]:+.1f}" for k in ("low", "high"))
    assert 0 < float(p) <= 1


def test_files_without_a_common_image_cannot_be_compared(files, capsys):
    coco_files.write_results(files / "B.json", {5: "a bus"})
    letters = {"results": "R", "annotations": "A", "baseline": "B"}
    options = {name: files / f"{letter}.json" for name, letter in letters.items()}
    assert run_command(score, **options) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "no image in common" in captured.err


def test_an_unknown_image_id_is_named(files, capsys):
    coco_files.write_results(files / "R.json", CAPTIONS | {1234: "a plane", 1235: "a train"})
    assert run_command(score, results=files / "R.json", annotations=files / "A.json") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    for part in ("R.json", "1234 (and 1 other", "A.json"):
        assert part in line


@pytest.mark.parametrize(
    "argument", ["--results=R.json", "--annotations=A.json", "--result=R.json", "R.json"]
)
def test_wrong_usage(argument, capsys):
    assert run_command(score, argument) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


def test_wrong_usage_as_a_process():
    done = run_score("--result=R.json")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
