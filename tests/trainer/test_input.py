"""Records -> batches: whose order is a function of seed and epoch, and which waste little."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from cli.errors import UserError
from model.decoding import decode
from model.encoder import Encoder
from records import wire
from records.split_files import SplitFiles, open_split
from tests.support.records import records as read_records
from tests.support.training import config
from trainer.input import order, reading
from trainer.input.batches import TrainingBatches
from trainer.input.feature_cache import FeatureCache, cache_bytes, stream


class OnlyEncoder:
    """What the input needs of a captioner."""

    def __init__(self):
        self.encoder = Encoder("small_cnn")


@pytest.fixture(scope="module")
def captioner():
    return OnlyEncoder()


@pytest.fixture(scope="module")
def train(scenes_records) -> SplitFiles:
    return open_split(str(scenes_records), "train")[1]


def batches(captioner, train, epoch=0, skip=0, cached=False, **changes):
    """(images or features, ids) of an epoch, as the trainer gets them."""
    made = TrainingBatches(config(**changes), train, captioner, cached)
    return [(a.numpy(), b.numpy()) for a, b, _ in made.epoch(epoch, skip)]


def assert_equal(actual, expected):
    assert len(actual) == len(expected)
    for (inputs, ids), (expected_inputs, expected_ids) in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_array_equal(inputs, expected_inputs)


def same_order(first, second):
    return all(np.array_equal(a[1], b[1]) for a, b in zip(first, second, strict=True))


# One element an image, without its pixels: (index, ids [N, T]).


def elements(images: int, seed: int = 0) -> tf.data.Dataset:
    rng = np.random.default_rng(seed)
    lengths = np.minimum(6 + rng.geometric(0.3, (images, 5)), 22)
    ids = np.where(np.arange(24) < lengths[..., None], 7, 0).astype(np.int32)
    return tf.data.Dataset.from_tensor_slices((np.arange(images), ids, np.arange(images) + 1000))


def epoch(images, skip=0, seed=3, load=lambda keys: keys, window=None, batch_size=8):
    dataset = order.epoch(
        elements(images),
        load,
        window=window or images,
        batch_size=batch_size,
        seed=seed,
        skip=skip,
    )
    return [(keys.numpy(), ids.numpy()) for keys, ids, _ in dataset]


@pytest.mark.parametrize("images", [8, 203, 600])  # 600 are more than one window of lengths
def test_every_image_comes_once_an_epoch(images):
    made = epoch(images)
    assert len(made) == -(-images // 8)
    assert sorted(np.concatenate([keys for keys, _ in made])) == list(range(images))
    assert all(len(keys) == 8 for keys, _ in made[:-1])
    ids_of = dict(enumerate(ids.numpy() for _, ids, _ in elements(images)))
    for keys, ids in made:
        assert ids.any(axis=(0, 2)).all()  # no caption and no word is padding in all of them
        assert ids.any(axis=(0, 1)).all()
        for key, image in zip(keys, ids, strict=True):
            lengths = (image != 0).sum(-1)
            assert list(lengths) == sorted(lengths, reverse=True)  # finished captions leave early
            expected = ids_of[key][:, : ids.shape[-1]]
            assert sorted(map(tuple, image)) == sorted(map(tuple, expected))
            assert not ids_of[key][:, ids.shape[-1] :].any()


def test_skip_goes_on_where_an_epoch_was_left():
    undisturbed = epoch(203)
    for skip in (1, 7, 25, 26):
        assert_equal(epoch(203, skip), undisturbed[skip:])


def test_what_is_skipped_is_not_loaded():
    loaded = []

    def load(keys):
        return tf.numpy_function(lambda k: loaded.append(k) or k, [keys], tf.int64)

    assert len(epoch(203, skip=20, load=load)) == len(loaded) == 6


def test_batches_are_of_like_length():
    def waste(made):
        """Of the words that a batch steps through, those that are padding of its longest."""
        longest = [(ids != 0).sum(-1).max(-1) for _, ids in made]  # of each image
        return 1 - np.concatenate(longest).sum() / sum(len(n) * n.max() for n in longest)

    def unsorted():
        plain = elements(600).shuffle(600, seed=3).batch(8)
        return [(keys.numpy(), ids.numpy()) for keys, ids, _ in plain]

    assert waste(epoch(600)) < 0.25 * waste(unsorted())


def test_lengths_do_not_come_in_order():
    longest = [(ids != 0).sum(-1).max() for _, ids in epoch(203)]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_order_is_a_function_of_seed_and_epoch(captioner, train):
    first = batches(captioner, train)
    assert_equal(batches(captioner, train), first)
    assert not same_order(batches(captioner, train, epoch=1), first)
    assert not same_order(batches(captioner, train, seed=2), first)
    assert_equal(batches(captioner, train, skip=5), first[5:])
    assert sum(len(ids) for _, ids in first) == 48


def test_a_small_window_reads_the_shards_in_another_order_each_epoch(captioner, train):
    few = dataclasses.replace(train, bytes=48_000_000)  # 1 MB holds a single image
    orders = [batches(captioner, few, epoch=e, shuffle_mb=1) for e in (0, 1)]
    assert not same_order(*orders)
    for made in orders:
        assert sum(len(ids) for _, ids in made) == 48
        images = np.concatenate([images for images, _ in made]).reshape(48, -1)
        assert len(np.unique(images, axis=0)) == 48
    assert_equal(batches(captioner, few, skip=5, shuffle_mb=1), orders[0][5:])


@pytest.mark.parametrize("epoch", [0, 1, 2])  # one order of three shards may be as it was
def test_cached_features_come_in_the_order_of_the_images(captioner, train, epoch):
    read, cached = (batches(captioner, train, epoch, cached=c) for c in (False, True))
    assert len(read) == len(cached) == 12
    for (images, ids), (features, cached_ids) in zip(read, cached, strict=True):
        assert features.dtype == np.float16
        np.testing.assert_array_equal(ids, cached_ids)
        np.testing.assert_allclose(captioner.encoder(images), features, rtol=2e-3, atol=2e-3)


def test_strict_pairs_are_batches_of_one_caption_each(captioner, scenes_pairs, scenes_records):
    _, pairs = open_split(str(scenes_pairs), "train")
    assert pairs.records == 240
    of_pairs = batches(captioner, pairs)
    assert len(of_pairs) == 60
    assert {ids.shape[1] for _, ids in of_pairs} == {1}
    images = open_split(str(scenes_records), "train")[1]
    together = [
        row[row != 0]
        for _, ids in batches(captioner, images)
        for row in ids.reshape(-1, ids.shape[-1])
    ]
    alone = [row[row != 0] for _, ids in of_pairs for row in ids[:, 0]]
    assert sorted(map(tuple, alone)) == sorted(map(tuple, together))


# The first images alone (--max_train_images).


@pytest.mark.parametrize("images", [1, 16, 20, 47])  # of three shards of 16
@pytest.mark.parametrize("shuffle_mb", [512, 1])
def test_the_first_images_alone_are_read(captioner, scenes_records, images, shuffle_mb):
    _, first = open_split(str(scenes_records), "train", images)
    expected = [record.image_id for record in read_records(scenes_records, "train")][:images]
    if shuffle_mb == 1:  # holds a single image, so that the shards are shuffled
        first = dataclasses.replace(first, bytes=images * 1_000_000)
    made = TrainingBatches(config(shuffle_mb=shuffle_mb), first, captioner, cached=False)
    assert made.steps_per_epoch == -(-images // 4)
    orders = []
    for epoch in range(3):
        ids = [batch.image_ids.numpy() for batch in made.epoch(epoch)]
        assert len(ids) == made.steps_per_epoch
        assert sorted(np.concatenate(ids)) == sorted(expected)
        orders.append(list(np.concatenate(ids)))
    assert images == 1 or orders[0] != orders[1]
    assert_equal(
        batches(captioner, first, skip=2, shuffle_mb=shuffle_mb),
        batches(captioner, first, shuffle_mb=shuffle_mb)[2:],
    )


def test_the_cache_holds_the_first_images_alone(captioner, scenes_records):
    _, first = open_split(str(scenes_records), "train", 20)
    cache = FeatureCache.fill(first, captioner)
    assert cache.split.features.nbytes == cache_bytes(first, captioner)
    records = read_records(scenes_records, "train")[:20]
    assert sorted(cache.split.image_ids) == sorted(record.image_id for record in records)
    read, cached = (batches(captioner, first, cached=c) for c in (False, True))
    assert len(read) == len(cached) == 5
    for (images, ids), (features, cached_ids) in zip(read, cached, strict=True):
        np.testing.assert_array_equal(ids, cached_ids)
        np.testing.assert_allclose(captioner.encoder(images), features, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("images", [1, 16, 20])
def test_of_strict_pairs_images_are_counted_and_not_records(captioner, scenes_pairs, images):
    _, first = open_split(str(scenes_pairs), "train", images)
    pairs = [record.image_id for record in read_records(scenes_pairs, "train")]
    expected = [image_id for image_id in pairs if image_id in list(dict.fromkeys(pairs))[:images]]
    assert first.records == len(expected) == 5 * images
    made = TrainingBatches(config(), first, captioner, cached=False)
    assert made.steps_per_epoch == -(-5 * images // 4)
    ids = np.concatenate([batch.image_ids for batch in made.epoch(0)])
    assert sorted(ids) == sorted(expected)


# Reading.


def test_parse_gives_what_was_written(train, scenes_records):
    expected = {record.image_id: record for record in read_records(scenes_records, "train")}
    parsed = list(reading.parsed_records(train).as_numpy_iterator())
    assert len(parsed) == len(expected) == 48
    for actual in parsed:
        record = expected.pop(actual.image_id)
        assert actual.file_name.decode() == record.file_name
        assert actual.encoded == record.encoded
        assert [text.decode() for text in actual.texts] == list(record.captions)
        for row, ids in zip(actual.ids, record.caption_ids, strict=True):
            assert (*row[: len(ids)],) == ids
            assert not row[len(ids) :].any()


def test_a_split_streams_and_caches_the_same(captioner, train, scenes_records):
    streamed = list(stream(train, captioner, "test"))
    cache = FeatureCache.fill(train, captioner)
    assert cache.split.features.nbytes == cache_bytes(train, captioner)
    cached = list(cache.batches(32))
    assert [len(part.image_ids) for part in streamed] == [32, 16]
    records = {record.image_id: record for record in read_records(scenes_records, "train")}
    for batch, from_cache in zip(streamed, cached, strict=True):
        np.testing.assert_array_equal(batch.image_ids, from_cache.image_ids)
        np.testing.assert_array_equal(batch.features, from_cache.features)
        np.testing.assert_array_equal(batch.texts, from_cache.texts)
        for b, image_id in enumerate(batch.image_ids):
            record = records.pop(int(image_id))
            for row, ids in zip(from_cache.ids[b], record.caption_ids, strict=True):
                assert (*row[row != 0],) == ids
            pixels = decode(tf.constant(record.encoded), record.orientation, 64)
            np.testing.assert_allclose(
                captioner.encoder(pixels[None])[0], batch.features[b], rtol=2e-3, atol=2e-3
            )
    assert not records


def test_nothing_that_is_read_is_tuned(captioner, train, monkeypatch):
    read = []
    begin = tf.data.Dataset.__iter__

    def noted(dataset):
        read.append(dataset.options().autotune.enabled)
        return begin(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", noted)
    next(stream(train, captioner, "test"))
    for cached in (True, False):
        next(iter(TrainingBatches(config(), train, captioner, cached).epoch(0)))
    assert read == [False] * 4  # the cache is filled, too


# What cannot be read.


def test_a_record_that_cannot_be_read_is_a_line(tmp_path, captioner, scenes_records):
    folder = tmp_path / "records"
    shutil.copytree(scenes_records, folder)
    shard = folder / "train-00001-of-00003.tfrecord"
    content = shard.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF  # its CRC does not match any more
    shard.write_bytes(flipped)
    undecodable = [
        b"".join(
            wire.frame(wire.to_bytes(dataclasses.replace(record, encoded=b"\xff\xd8 no image")))
        )
        for record in read_records(scenes_records, "train")[:10]
    ]
    for damage in (bytes(flipped), b"".join(undecodable)):
        shard.write_bytes(damage)
        _, damaged = open_split(str(scenes_records), "train")
        paths = (damaged.paths[0], str(shard), damaged.paths[2])
        damaged = dataclasses.replace(damaged, paths=paths)
        for read in (
            lambda split_files=damaged: list(stream(split_files, captioner, "test")),
            lambda split_files=damaged: batches(captioner, split_files),
        ):
            with pytest.raises(
                UserError, match=r"'train' cannot be read.*verify_records"
            ) as caught:
                read()
            assert "\n" not in str(caught.value)
