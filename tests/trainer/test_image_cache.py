"""Decoded images in memory: the same batches in the same order, without a decode."""

import dataclasses

import numpy as np
import pytest

from model.encoder import ENCODERS
from records.split_files import open_split
from tests.support.training import config
from trainer.input import reading
from trainer.input.batches import TrainingBatches
from trainer.input.image_cache import ImageCache, keeps_images
from trainer.input.reading import InputLoader


class OnlySpec:
    """What the input of images needs of a captioner."""

    spec = ENCODERS["small_cnn"]

    @property
    def encoder(self):
        return self


def batches(train, **changes) -> TrainingBatches:
    recipe = config(**({"encoder_trainable": True} | changes))
    return TrainingBatches(recipe, train, OnlySpec(), cached=False)


@pytest.mark.parametrize("whole_window", [True, False])
@pytest.mark.parametrize("records", ["scenes_records", "scenes_pairs"])
def test_cached_images_are_the_decoded_ones_in_the_same_order(
    records, whole_window, request, monkeypatch
):
    _, train = open_split(str(request.getfixturevalue(records)), "train", 20)
    if not whole_window:  # the window holds two images, so that the shards are shuffled
        train = dataclasses.replace(train, bytes=train.records * 500_000)
    decoded = batches(train, cache_memory_mb=0, shuffle_mb=1)
    expected = [list(decoded.epoch(epoch, skip)) for epoch, skip in ((0, 0), (1, 2))]
    cached = batches(train, shuffle_mb=1)
    monkeypatch.setattr(reading, "decode", None)  # all are decoded
    for batches_, (epoch, skip) in zip(expected, ((0, 0), (1, 2)), strict=True):
        actual = list(cached.epoch(epoch, skip))
        assert len(actual) == len(batches_) > 2
        for a, b in zip(actual, batches_, strict=True):
            assert a.inputs.dtype == b.inputs.dtype
            for field, other in zip(a, b, strict=True):
                np.testing.assert_array_equal(field, other)


def test_each_image_is_kept_once_and_only_where_all_fit(scenes_pairs, capsys):
    _, pairs = open_split(str(scenes_pairs), "train")
    assert (pairs.records, pairs.images) == (240, 48)
    loader = InputLoader(64, None)
    assert ImageCache.fill(pairs, loader).bytes == 48 * 64 * 64 * 3 * 4  # 2.4 MB
    assert keeps_images(config(encoder_trainable=True, cache_memory_mb=3), loader, pairs)
    assert not keeps_images(config(cache_memory_mb=3), loader, pairs)  # features are kept
    assert not capsys.readouterr().out
    assert not keeps_images(config(encoder_trainable=True, cache_memory_mb=2), loader, pairs)
    assert capsys.readouterr().out == (
        "the decoded training images take 3 MB, more than --cache_memory_mb=2: they are decoded"
        " anew in every epoch\n"
    )
