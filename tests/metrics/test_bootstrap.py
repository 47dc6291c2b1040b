"""Each resample has the scores that the official code gives it; intervals and tests follow."""

import dataclasses

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu

from metrics import bootstrap
from metrics.meteor import MeteorError
from metrics.official import Scores, score_tokens
from tests.support.scores import IMAGES, random_scores


@pytest.fixture(scope="module")
def scores() -> Scores:
    return random_scores(1)


@pytest.fixture(scope="module")
def long_scores(scores) -> Scores:
    """Captions longer than their references, which BLEU has no penalty for."""

    def no_meteor(references, hypotheses):
        raise MeteorError("not started")

    long = {image: [" ".join(texts)] for image, texts in scores.references.items()}
    return score_tokens(scores.references, long, no_meteor)


@pytest.mark.parametrize("which", ["scores", "long_scores"])
def test_each_resample_is_scored_as_the_official_code_would(which, request):
    scores = request.getfixturevalue(which)
    references, hypotheses = scores.references, scores.hypotheses
    weights = next(bootstrap._weights(IMAGES, seed=5))[:4]
    drawn = bootstrap._metrics_of(scores, weights)
    for r, row in enumerate(weights.astype(int)):
        ids = [image for image, count in zip(references, row, strict=True) for _ in range(count)]
        assert len(ids) == IMAGES
        bleu, _ = Bleu(4).compute_score(
            {k: references[i] for k, i in enumerate(ids)},
            {k: hypotheses[i] for k, i in enumerate(ids)},
            verbose=0,
        )
        for n, value in enumerate(bleu, 1):
            assert drawn[f"Bleu_{n}"][r] == pytest.approx(value, abs=1e-9)
        for name in ("ROUGE_L", "CIDEr"):
            mean = np.mean([scores.images[i][name] for i in ids])
            assert drawn[name][r] == pytest.approx(mean, abs=1e-9)


def test_images_drawn_once_each_give_the_scores(scores):
    each_once = bootstrap._metrics_of(scores, np.ones((1, IMAGES)))
    for name, value in scores.metrics.items():
        assert each_once[name][0] == pytest.approx(value, abs=1e-12), name


def test_intervals_hold_the_score_and_are_as_wide_as_theory_says(scores):
    intervals = bootstrap.intervals(scores)
    assert list(intervals) == list(scores.metrics)
    for name, value in scores.metrics.items():
        assert intervals[name].low < value < intervals[name].high
    values = np.array([image["CIDEr"] for image in scores.images.values()])
    width = 2 * 1.96 * values.std() / np.sqrt(IMAGES)
    assert intervals["CIDEr"].high - intervals["CIDEr"].low == pytest.approx(width, rel=0.15)
    assert bootstrap.intervals(scores) == intervals
    assert bootstrap.intervals(scores, seed=1) != intervals


def few(scores: Scores, images: int) -> Scores:
    """Return scores as of the first images alone; CIDEr's and ROUGE-L's are means over images."""
    of_images = dict(list(scores.images.items())[:images])
    kept = dataclasses.replace(
        scores, images=of_images, bleu_counts=scores.bleu_counts[:images], meteor_statistics=None
    )
    values = bootstrap._metrics_of(kept, np.ones((1, images)))
    return dataclasses.replace(kept, metrics={name: float(v[0]) for name, v in values.items()})


@pytest.mark.parametrize("images", [2, 3, 5, 8, 13])
@pytest.mark.parametrize("seed", range(4))
def test_the_score_of_a_few_images_lies_in_its_interval(images, seed):
    scores = few(random_scores(seed), images)
    for name, interval in bootstrap.intervals(scores).items():
        assert interval.low <= scores.metrics[name] <= interval.high, name


def test_equal_images_have_an_interval_of_no_width_that_holds_the_score(scores):
    images = {i: dict.fromkeys(scores.metrics, 0.1) for i in scores.images}
    metrics = {name: sum(image[name] for image in images.values()) / IMAGES for name in images[1]}
    equal = dataclasses.replace(scores, images=images, metrics=metrics)
    for name in ("ROUGE_L", "CIDEr"):  # summed otherwise, it is another float
        low, high = bootstrap.intervals(equal)[name]
        assert low <= metrics[name] <= high
        assert high - low < 1e-12


def test_one_image_has_no_interval_and_no_test(scores):
    one = few(scores, 1)
    assert bootstrap.intervals(one) == {}
    other = dataclasses.replace(one, images={1: dict.fromkeys(one.metrics, 0.0)})
    for difference in bootstrap.paired_test(one, other).values():
        assert difference.p == 1


def test_no_p_is_less_than_that_of_an_exact_test_of_so_few_images(scores):
    four = few(scores, 4)
    better = dataclasses.replace(
        four, images={i: {n: v + 1 for n, v in image.items()} for i, image in four.images.items()}
    )
    assert bootstrap.paired_test(better, four)["CIDEr"].p == 2 / 2**4
    assert bootstrap.paired_test(four, better)["CIDEr"].p == 2 / 2**4


def test_the_paired_test_is_two_sided(scores):
    noise = np.random.default_rng(3).normal(0.02, 0.1, IMAGES)
    images = {
        i: image | {"CIDEr": image["CIDEr"] + noise[k]}
        for k, (i, image) in enumerate(scores.images.items())
    }
    other = dataclasses.replace(scores, images=images)
    better = bootstrap.paired_test(other, scores)["CIDEr"]
    worse = bootstrap.paired_test(scores, other)["CIDEr"]
    assert better.p == worse.p
    assert better.difference == -worse.difference
    weights = np.concatenate(list(bootstrap._weights(IMAGES, 0)))
    one_sided = np.mean(weights @ noise <= 0)
    assert 0.005 < one_sided < 0.4
    assert better.p == pytest.approx(2 * one_sided, abs=1e-12)


def test_portions_change_nothing(scores, monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 50)
    at_once = bootstrap.intervals(scores)
    monkeypatch.setattr(bootstrap, "_DRAWN_AT_ONCE", 7 * IMAGES)
    assert bootstrap.intervals(scores) == at_once


def test_the_paired_test_knows_same_from_better(scores):
    for name, same in bootstrap.paired_test(scores, scores).items():
        assert same == (0, 0, 0, 1), name
    images = {
        i: {name: value + 0.1 * (k % 3) for name, value in image.items()}
        for k, (i, image) in enumerate(scores.images.items())
    }
    better = dataclasses.replace(scores, images=images)
    difference = bootstrap.paired_test(better, scores)["CIDEr"]
    assert difference.difference == pytest.approx(0.1)
    assert 0.05 < difference.low < 0.1 < difference.high < 0.15  # paired: images vary far more
    assert difference.p == 0
    assert bootstrap.paired_test(scores, better)["CIDEr"].high < 0


def test_the_paired_test_finds_chance_to_be_chance():
    values = [
        bootstrap.paired_test(random_scores(2 * k), random_scores(2 * k + 1))["CIDEr"].p
        for k in range(6)
    ]
    assert sum(p < 0.05 for p in values) <= 2
    assert len(set(values)) > 3


def test_a_paired_test_of_other_images_is_refused(scores):
    fewer = dataclasses.replace(scores, images=dict(list(scores.images.items())[1:]))
    with pytest.raises(ValueError, match="same images"):
        bootstrap.paired_test(scores, fewer)


def test_a_quotient_of_sums_has_the_interval_of_its_resamples():
    rng = np.random.default_rng(1)
    below = rng.gamma(4.0, size=400)
    above = 3 * below + rng.normal(size=400)
    ratio, interval = bootstrap.ratio_of_sums(above, below)
    assert ratio == pytest.approx(above.sum() / below.sum())
    # The delta method: the spread of the residuals over the mean of the divisor.
    spread = np.std(above - ratio * below) / np.sqrt(400) / below.mean()
    assert interval.low == pytest.approx(ratio - 1.96 * spread, abs=0.01)
    assert interval.high == pytest.approx(ratio + 1.96 * spread, abs=0.01)
    assert bootstrap.ratio_of_sums(above, below) == (ratio, interval)  # the seed decides


def test_a_quotient_without_a_sure_divisor_means_nothing():
    rng = np.random.default_rng(1)
    assert bootstrap.ratio_of_sums([1.0, 2.0], [-1.0, 0.5]) == (None, None)
    unsure = rng.normal(0.05, 1.0, size=100)
    assert bootstrap.ratio_of_sums(np.ones(100), unsure + 0.02 - unsure.mean()) == (None, None)
    assert bootstrap.ratio_of_sums([3.0], [2.0]) == (1.5, None)
