"""Scores as they are printed and kept."""

import dataclasses

import pytest

from metrics.names import HEADINGS, METRICS
from metrics.summary import Comparison, Summary, few_images, table
from tests.support.scores import random_scores


@pytest.fixture(scope="module")
def scores():
    return random_scores(1)


def test_names_are_those_of_the_official_script():
    # They are on disk: in metrics.json, images.json and every file of `evaluation.score`.
    official = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "SPICE"]
    assert list(METRICS) == list(HEADINGS) == official


def test_table():
    values = {name: (k + 0.12345) / 10 for k, name in enumerate(METRICS[:-1])}
    intervals = {name: (k / 100, 0.5) for k, name in enumerate(values)}
    text = table(values, {"SPICE": "no models"}, "STAMP", intervals)
    head, line, low, high, note = text.split("\n")
    assert head == "BLEU-1  BLEU-2  BLEU-3  BLEU-4  METEOR  ROUGE-L  CIDEr  SPICE"
    assert line.split() == [*(f"{k}1.2" if k else "1.2" for k in range(7)), "-", "STAMP"]
    assert low.split() == [*(f"{k}.0" for k in range(7)), "-", "95%", "from"]
    assert high.split() == [*["50.0"] * 7, "-", "95%", "to"]
    assert len({len(row.split(" 95%")[0].split(" STAMP")[0]) for row in (line, low, high)}) == 1
    assert note == "SPICE unavailable: no models"
    assert table(values) == "\n".join([head, line.removesuffix("  STAMP")])


def test_a_summary_is_kept_under_these_keys(scores):
    summary = Summary.of(scores)
    kept = summary.as_json()
    assert list(kept) == ["language", "metrics", "intervals", "unavailable", "notes", "diversity"]
    assert kept["notes"] == []  # sixty images are not few
    assert kept["metrics"] == scores.metrics
    assert list(kept["intervals"]) == list(scores.metrics)
    assert kept["unavailable"].keys() == {"METEOR", "SPICE"}
    assert kept["diversity"]["mean_length"] == summary.diversity.mean_length
    text = summary.as_text("STAMP")
    lines = table(scores.metrics, scores.unavailable, "STAMP", summary.intervals)
    assert text == f"{lines}\n{summary.diversity.as_text()}"


def test_scores_of_few_images_come_with_a_note(scores):
    for count, words in ((1, "always 0 here; one image gives no"), (49, "49 images are few: ")):
        images = dict(list(scores.images.items())[:count])
        few = dataclasses.replace(scores, images=images, bleu_counts=scores.bleu_counts[:count])
        summary = Summary.of(few)
        (note,) = summary.as_json()["notes"]
        assert words in note and "CIDEr weighs a word by how few" in note
        assert f"\n{note}\n" in summary.as_text()
        assert ("95% from" in summary.as_text()) == (count > 1)
    assert few_images(50) == []


def test_a_comparison_of_one_image_has_no_interval(scores):
    images = dict(list(scores.images.items())[:1])
    one = dataclasses.replace(scores, images=images, bleu_counts=scores.bleu_counts[:1])
    _, *rows = Comparison.of(one, one).as_text().split("\n")
    assert all(row.split()[-2:] == ["-", "1.000"] for row in rows)


def test_a_comparison_names_the_difference_of_each_metric(scores):
    comparison = Comparison.of(scores, random_scores(2))
    kept = comparison.as_json()
    assert list(kept) == ["metrics", "differences"]
    assert list(kept["differences"]) == list(scores.metrics)
    assert list(kept["differences"]["CIDEr"]) == ["difference", "low", "high", "p"]
    header, *rows = comparison.as_text().split("\n")
    assert header.split() == ["this", "baseline", "difference", "95%", "interval", "p"]
    assert [row.split()[0] for row in rows] == [HEADINGS[name] for name in scores.metrics]
    assert len({len(row) for row in (header, *rows)}) == 1
