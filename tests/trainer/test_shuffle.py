"""How good the order of training is: as a uniform draw from its window, and new in every epoch.

Correlations of n independent values are normal with a deviation of 1 / sqrt(n): four of them are
passed once in 16,000 tests, and the seeds are fixed.
"""

import itertools
import types

import numpy as np
import pytest
import tensorflow as tf

from model.encoder import Encoder
from records.split_files import open_split
from tests.support.training import config
from trainer.input import order
from trainer.input.batches import TrainingBatches

IMAGES = 6000


def displacements(window: int, seed: int) -> np.ndarray:
    """How far each image of a split comes from its place on disk."""
    ids = np.zeros((IMAGES, 1, 20), np.int32)
    words = 5 + np.random.default_rng(0).geometric(0.3, IMAGES).clip(max=15)
    ids[:, 0] = np.arange(20) < words[:, None]
    places = np.arange(IMAGES)
    elements = tf.data.Dataset.from_tensor_slices((places, ids, places))
    batches = order.epoch(
        elements, lambda keys: keys, window=window, batch_size=2, seed=seed, skip=0
    )
    drawn = np.concatenate([batch.image_ids for batch in batches])
    return np.argsort(drawn) - places


def uniform_draws(window: int) -> np.ndarray:
    """The same where any image of the window is as likely to be the next."""
    rng = np.random.default_rng(5)
    held, drawn = list(range(window)), []
    for arriving in range(window, IMAGES + window):
        place = rng.integers(len(held))
        drawn.append(held[place])
        if arriving < IMAGES:
            held[place] = arriving
        else:
            held.pop(place)
    return np.argsort(drawn) - np.arange(IMAGES)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])


@pytest.mark.parametrize("window", [IMAGES, 600])  # features in memory; images read anew
def test_images_move_as_far_as_uniform_draws_from_the_window_take_them(window):
    first, second = displacements(window, seed=1), displacements(window, seed=2)
    expected = uniform_draws(window)
    for moved in (first, second):
        assert np.std(moved) == pytest.approx(np.std(expected), rel=0.05)
        # Neighbours on disk part: how far one moves says nothing about the other, but for the trend
        # that every permutation has, from its place on disk to all places.
        chance = correlation(expected[1:], expected[:-1])
        assert abs(correlation(moved[1:], moved[:-1]) - chance) < 4 / np.sqrt(IMAGES)
    chance = correlation(first, uniform_draws(window))
    assert abs(correlation(first, second) - chance) < 4 / np.sqrt(IMAGES)


@pytest.mark.parametrize("cached", [True, False])
def test_epochs_have_orders_that_know_nothing_of_each_other(cached, scenes_records):
    captioner = types.SimpleNamespace(encoder=Encoder("small_cnn"))
    _, train = open_split(str(scenes_records), "train")
    batches = TrainingBatches(config(batch_size=1), train, captioner, cached)
    epochs = [np.array([int(batch.image_ids[0]) for batch in batches.epoch(e)]) for e in range(8)]
    places = [np.argsort(image_ids) for image_ids in epochs]
    assert all(sorted(image_ids) == sorted(epochs[0]) for image_ids in epochs)
    pairs = [(a, b) for a in range(8) for b in range(a)]
    correlations = [correlation(places[a], places[b]) for a, b in pairs]
    assert max(map(abs, correlations)) < 5 / np.sqrt(train.records)
    assert abs(np.mean(correlations)) < 4 / np.sqrt(train.records * len(pairs))
    # Images that follow each other do so again once an epoch, by chance.
    follow = [set(itertools.pairwise(image_ids)) for image_ids in epochs]
    again = [len(follow[a] & follow[b]) for a, b in pairs]
    assert np.mean(again) == pytest.approx(1, abs=4 / np.sqrt(len(pairs)))
