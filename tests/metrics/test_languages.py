"""Captions that are not English are scored without Java, on the words that models learn."""
# ruff: noqa: RUF001  (captions in Chinese)

import numpy as np
import pytest

from cli.errors import UserError
from metrics import meteor, official, tokens
from metrics.names import BLEU, CIDER, ROUGE_L
from metrics.summary import Comparison, Summary

REFERENCES = {
    1: ["一只红色的狗在草地上。", "红狗在跑"],
    2: ["两只猫睡在沙发上", "猫，在睡觉"],
    3: ["风筝在海上飞"],
}
CAPTIONS = {1: "一只红色的狗在草地上", 2: "两只猫在沙发上", 3: "海上的风筝"}
OTHERS = {1: "猫", 2: "", 3: "海"}


@pytest.fixture(autouse=True)
def no_java(monkeypatch):
    for module in (meteor, tokens):
        monkeypatch.setattr(module, "JAVA", "/nonexistent")


@pytest.fixture
def scores():
    return official.evaluate(REFERENCES, CAPTIONS, language="zh")


def test_words_are_those_of_the_model(scores):
    assert scores.hypotheses[1] == ["一 只 红 色 的 狗 在 草 地 上"]
    assert scores.references[2] == ["两 只 猫 睡 在 沙 发 上", "猫 在 睡 觉"]
    # 21 of the 22 characters are in a reference; the closest references have 24.
    assert list(scores.metrics) == [*BLEU, ROUGE_L, CIDER]
    assert scores.metrics["Bleu_1"] == pytest.approx(21 / 22 * np.exp(1 - 24 / 22))
    assert scores.images[1]["ROUGE_L"] == pytest.approx(1)
    for metric in ("METEOR", "SPICE"):
        assert "--language=zh" in scores.unavailable[metric]


def test_intervals_the_paired_test_and_diversity_need_no_meteor(scores):
    summary = Summary.of(scores)
    assert summary.as_json()["language"] == "zh"
    assert list(summary.intervals) == list(scores.metrics)
    assert summary.diversity.bad_endings is None  # the words of English are no mark here
    text = summary.as_text()
    assert "METEOR unavailable: it is for English" in text and "bad endings" not in text
    others = official.evaluate(REFERENCES, OTHERS, language="zh")
    comparison = Comparison.of(scores, others)
    assert list(comparison.differences) == list(scores.metrics)
    assert comparison.differences["Bleu_1"].difference > 0
    assert np.isfinite([d.difference for d in comparison.differences.values()]).all()


@pytest.mark.parametrize(
    ("references", "captions", "message"),
    [
        (REFERENCES, {1: "", 2: "。", 3: "!"}, "no caption to score holds a word: all 3 images"),
        ({1: ["…"], 2: [""]}, {1: "狗", 2: "猫"}, "no reference to score holds a word"),
    ],
)
def test_nothing_but_empty_captions_is_an_error(references, captions, message):
    with pytest.raises(UserError, match=message):
        official.evaluate(references, captions, language="zh")


def test_odd_captions_keep_their_images():
    odd = ["two\nlines", "tab\tand\x00nul", "one ||| two", "", "\u2028", "dog " * 5_000]
    references = dict(enumerate([[text, "кот спит"] for text in odd]))
    references[9] = ["кот"] * 10_000
    captions = {image: f"кот {image}" for image in references} | {3: ""}
    scores = official.evaluate(references, captions, language="ru")
    assert list(scores.images) == list(references)
    assert scores.images[9]["Bleu_1"] == pytest.approx(0.5)
    assert scores.images[3]["Bleu_1"] == pytest.approx(0)
