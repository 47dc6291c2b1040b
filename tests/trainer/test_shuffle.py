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
    found = np.concatenate([batch.image_ids for batch in batches])
    return np.argsort(found) - places


def uniform_draws(window: int) -> np.ndarray:
    """The same of a window of which any image is as likely to be the next."""
    rng = np.random.default_rng(5)
    held, found = list(range(window)), []
    for arriving in range(window, IMAGES + window):
        place = rng.integers(len(held))
        found.append(held[place])
        if arriving < IMAGES:
            held[place] = arriving
        else:
            held.pop(place)
    return np.argsort(found) - np.arange(IMAGES)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


@pytest.mark.parametrize("window", [IMAGES, 600])  # features in memory; images read anew
def test_images_move_as_far_as_uniform_draws_from_the_window_take_them(window):
    first, second = displacements(window, seed=1), displacements(window, seed=2)
    expected = uniform_draws(window)
    for found in (first, second):
        assert np.std(found) == pytest.approx(np.std(expected), rel=0.05)
        # Neighbours on disk part: one's way says nothing of the other's, but for the trend that
        # every permutation has, from its place on disk to all places.
        chance = correlation(expected[1:], expected[:-1])
        assert abs(correlation(found[1:], found[:-1]) - chance) < 4 / np.sqrt(IMAGES)
    chance = correlation(first, uniform_draws(window))
    assert abs(correlation(first, second) - chance) < 4 / np.sqrt(IMAGES)


@pytest.mark.parametrize("cached", [True, False])
def test_epochs_have_orders_that_know_nothing_of_each_other(cached, scenes_records):
    captioner = types.SimpleNamespace(encoder=Encoder("small_cnn"))
    _, train = open_split(str(scenes_records), "train")
    batches = TrainingBatches(config(batch_size=1), train, captioner, cached)
    epochs = [np.array([int(batch.image_ids[0]) for batch in batches.epoch(e)]) for e in range(8)]
    places = [np.argsort(found) for found in epochs]
    assert all(sorted(found) == sorted(epochs[0]) for found in epochs)
    pairs = [(a, b) for a in range(8) for b in range(a)]
    found = [correlation(places[a], places[b]) for a, b in pairs]
    assert max(map(abs, found)) < 5 / np.sqrt(train.records)
    assert abs(np.mean(found)) < 4 / np.sqrt(train.records * len(pairs))
    # Images that follow each other do so again once an epoch, by chance.
    follow = [set(itertools.pairwise(found)) for found in epochs]
    again = [len(follow[a] & follow[b]) for a, b in pairs]
    assert np.mean(again) == pytest.approx(1, abs=4 / np.sqrt(len(pairs)))
