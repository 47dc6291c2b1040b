"""Any COCO results file against any COCO captions file, or a line that says why not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from cli.errors import UserError
from metrics import coco_files, meteor, official
from metrics.summary import table

REPOSITORY = Path(__file__).parents[2]
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
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def files(tmp_path):
    coco_files.write_results(tmp_path / "R.json", CAPTIONS)
    coco_files.write_references(tmp_path / "A.json", REFERENCES)
    return tmp_path


def test_scores_part_of_the_images(files, monkeypatch):
    # In a locale that knows ASCII only, the captions must arrive whole all the same.
    arguments = [f"--results={files}/R.json", f"--annotations={files}/A.json"]
    output = files / "new" / "S.json"
    done = run_score(*arguments, f"--output={output}", LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    written = json.loads(output.read_text())
    assert set(written) == {"metrics", "intervals", "unavailable", "diversity", "images"}
    images = {int(image_id): values for image_id, values in written["images"].items()}
    intervals = {name: tuple(ends) for name, ends in written["intervals"].items()}
    printed = table(written["metrics"], written["unavailable"], intervals=intervals)
    assert done.stdout.startswith(f"3 of 4 images\n{printed}\nMETEOR's interval is of its mean ")
    assert "mean length 4.0 words (references 4.6)" in done.stdout
    monkeypatch.setattr(meteor.official_meteor, "METEOR_JAR", "")  # saves the seconds it loads
    expected = official.evaluate(REFERENCES, CAPTIONS)
    for values in (written["metrics"], *images.values()):
        assert 0.05 < values.pop("METEOR") < 1
    assert (written["metrics"], images) == (expected.metrics, expected.images)
    assert done.stderr.splitlines() == ["tokenising 11 captions ...", "scoring 3 images ..."]
    assert [path.name for path in output.parent.iterdir()] == ["S.json"]


def test_a_baseline_is_compared_on_the_images_of_both(files):
    others = {7: "two cats asleep on a sofa", 42: "a dog runs on the beach", 5: "a red bus"}
    coco_files.write_results(files / "B.json", others)
    arguments = [f"--{name}={files}/{name[0].upper()}.json" for name in ("results", "annotations")]
    done = run_score(*arguments, f"--baseline={files}/B.json", f"--output={files}/S.json")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
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
        if name != "METEOR":  # the difference of means over images
            assert values["difference"] == pytest.approx(expected, abs=1e-9), name
    rows = lines[-9:-1]
    assert rows[0].split() == ["this", "baseline", "difference", "95%", "interval", "p"]
    cider, system, baseline, difference, low, dots, high, p = rows[-1].split()
    assert (cider, dots) == ("CIDEr", "..")
    assert float(difference) == pytest.approx(float(system) - float(baseline), abs=0.11)
    assert float(difference) == round(100 * differences["CIDEr"]["difference"], 1)
    assert (low, high) == tuple(f"{100 * differences['CIDEr'][k]:+.1f}" for k in ("low", "high"))
    assert 0 < float(p) <= 1
    assert lines[-1] == "* of the mean over images"


def test_files_without_a_common_image_cannot_be_compared(files):
    coco_files.write_results(files / "B.json", {5: "a bus"})
    arguments = [f"--{name}={files}/{name[0].upper()}.json" for name in ("results", "annotations")]
    done = run_score(*arguments, f"--baseline={files}/B.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no image in common" in done.stderr


def test_an_unknown_image_id_is_named(files):
    coco_files.write_results(files / "R.json", CAPTIONS | {1234: "a plane", 1235: "a train"})
    done = run_score(f"--results={files}/R.json", f"--annotations={files}/A.json")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    for part in ("R.json", "1234 (and 1 other", "A.json"):
        assert part in line


@pytest.mark.parametrize(
    "arguments", [["--results=R.json"], ["--annotations=A.json"], ["--result=R.json"], ["R.json"]]
)
def test_wrong_usage(arguments):
    done = run_score(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")


def element(**values):
    return json.dumps([{"image_id": 42, "caption": "a dog"}, values])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "No such file"),
        ("", "no bytes"),
        ("<html>", "6 bytes that are not JSON"),
        ('[{"image_id": 42, "capt', "not JSON"),
        ("[" * 100_000, "not JSON"),
        (b"[\xff\xfe\xfa]", "not JSON"),
        ("[]", "an empty list"),
        ("{}", "an empty object"),
        ('{"images": [], "annotations": []}', "is this the annotations file?"),
        ('"text"', 'found "text"'),
        ("[[1]]", "element 0 that is a list of 1 elements"),
        (element(image_id=7), 'element 1 without "caption"'),
        (element(caption="a cat"), 'element 1 without "image_id"'),
        (element(image_id=7, caption=["a", "cat"]), "element 1 (image id 7) with caption ['a',"),
        (element(image_id=7, caption=None), "element 1 (image id 7) with caption None"),
        (element(image_id="7", caption="a cat"), "image_id '7' is no whole number"),
        (element(image_id=True, caption="a cat"), "image_id True is no whole number"),
        (element(image_id=42, caption="a cat"), "image id 42 is captioned twice"),
    ],
)
def test_broken_results(tmp_path, content, found):
    path = tmp_path / "R.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        coco_files.read_results(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert found in message
    assert "; " in message  # what to do
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "No such file"),
        ('{"images": [{"id": 42}], "annot', "not JSON"),
        ('[{"image_id": 42, "caption": "a dog"}]', "is this the results file?"),
        ('{"images": []}', 'an object with the keys "images"'),
        ('{"annotations": {}}', 'an object with the keys "annotations"'),
        ('{"annotations": [], "images": 3}', '"images" that is 3'),
        ('{"annotations": [], "images": [{"name": "x"}]}', "image 0 without a whole-number id"),
        ('{"annotations": [], "images": [{"id": 1}]}', "no captions"),
        ('{"annotations": [{"image_id": 1, "bbox": []}]}', 'annotation 0 without "caption"'),
        ('{"annotations": ["a dog"]}', 'annotation 0 that is "a dog"'),
    ],
)
def test_broken_annotations(tmp_path, content, found):
    path = tmp_path / "A.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        coco_files.read_references(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert found in message
    assert "\n" not in message


def test_files_come_back_as_written(files):
    assert coco_files.read_results(files / "R.json") == CAPTIONS
    assert list(coco_files.read_results(files / "R.json")) == list(CAPTIONS)
    assert coco_files.read_references(files / "A.json") == REFERENCES
    assert list(coco_files.read_references(files / "A.json")) == list(REFERENCES)


def test_references_follow_the_order_of_the_images(tmp_path):
    annotations = [{"image_id": i, "caption": f"caption {n}"} for n, i in enumerate([3, 1, 3, 2])]
    value = {"images": [{"id": 1}, {"id": 9}, {"id": 3}], "annotations": annotations}
    coco_files.write_json(tmp_path / "A.json", value)
    references = coco_files.read_references(tmp_path / "A.json")
    assert list(references.items()) == [
        (1, ["caption 1"]),
        (3, ["caption 0", "caption 2"]),
        (2, ["caption 3"]),
    ]


def test_pycocotools_reads_what_is_written(files):
    annotations = COCO(str(files / "A.json"))
    loaded = annotations.loadRes(str(files / "R.json"))
    assert set(annotations.getImgIds()) == set(REFERENCES)
    for image_id, texts in REFERENCES.items():
        assert [a["caption"] for a in annotations.imgToAnns[image_id]] == texts
    for image_id, text in CAPTIONS.items():
        (annotation,) = loaded.imgToAnns[image_id]
        assert annotation["caption"] == text
    assert len(annotations.anns) == sum(map(len, REFERENCES.values()))  # every id is its own


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "S.json"
    coco_files.write_json(path, {"a": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(coco_files.os, "fsync", full)
    with pytest.raises(UserError, match=r"S\.json: cannot be written: No space left on device"):
        coco_files.write_json(path, {"a": 2})
    assert [file.name for file in tmp_path.iterdir()] == ["S.json"]
    assert json.loads(path.read_text()) == {"a": 1}


def test_an_output_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"S\.json: cannot be written"):
        coco_files.write_json(tmp_path / "file" / "S.json", {})
