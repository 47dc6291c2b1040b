"""Augmentation: other views of the training images, of which no caption becomes wrong."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from model.encoder import ENCODERS
from records.manifest import read_vocabulary
from records.split_files import open_split
from records.text import tokenise
from records.vocabulary import Vocabulary
from tests.support.commands import one_error
from tests.support.training import config, train
from trainer.input.augment import (
    AugmentedImages,
    change_colours,
    crop_boxes,
    looks_english,
    names_a_side,
    uncropped_side,
)
from trainer.input.batches import TrainingBatches
from trainer.input.feature_cache import stream

SIDED = [
    "A man on the LEFT side of a dog .",
    "The rightmost player kicks.",
    "a left-handed pitcher",
    "he is right-handed",
    "a lefthand turn",
    "Turning rightward, a car",
    "the dog runs left",
    "two horses run counterclockwise",
    "a stop sign",
    'a shirt that says "no"',
    "a sign reading STOP",
    "player number seven",
    "the player in jersey 23",
    "a large clock tower",
    "words are written on the wall",
]
UNSIDED = [
    "a bright day in an upright frame",
    "A copyrighted flight of delight",
    "cleft rocks by the theatre",
    "a woman reading a book about design",
    "the beast ate a feast",
    "",
]


@pytest.mark.parametrize("caption", SIDED)
def test_a_side_or_text_in_one_caption_is_seen(caption):
    assert names_a_side(tf.constant([UNSIDED[0], caption, UNSIDED[1]]))


def test_other_words_name_no_side():
    for caption in UNSIDED:
        assert not names_a_side(tf.constant([caption])), caption


def vocabulary(*captions: str) -> Vocabulary:
    return Vocabulary.build(Counter(word for text in captions for word in tokenise(text)), 1)


def test_what_is_not_english_does_not_look_it(scenes_records):
    assert looks_english(read_vocabulary(str(scenes_records)))
    assert looks_english(vocabulary("A man in a red shirt is on the left of a dog ."))
    for other in (
        "Un hombre a la izquierda de un perro en la playa",
        "Ein Mann steht links von einem Hund in einem Park",
        "Un homme se tient a gauche d'un chien sur la plage",
        "Um homem anda a cavalo na praia com o seu cachorro",
        "Een man staat links van een hond in het park",
        "Egy ember a kutya bal oldalan all a parkban",
    ):
        assert not looks_english(vocabulary(other)), other
    assert not looks_english(vocabulary())


class Ramps:
    """A source of images that rise from 0 at the left edge to 200 at the right one."""

    side = 32

    def load(self, keys):
        ramp = np.linspace(0, 200, self.side)[None, None, :, None]
        shape = (len(keys), self.side, self.side, 3)
        return tf.constant(np.broadcast_to(ramp, shape).astype(np.uint8))


def views(sided: bool, seed: int = 5, images: int = 200, flips: bool = True) -> np.ndarray:
    made = AugmentedImages(Ramps(), 28, seed, flips)
    ids = tf.range(images, dtype=tf.int64)
    return made.load((ids, ids, tf.fill([images], sided))).numpy()


def is_mirrored(images: np.ndarray) -> np.ndarray:
    return images[:, :, -1].mean((1, 2)) < images[:, :, 0].mean((1, 2))


def test_images_are_mirrored_only_where_no_caption_names_a_side():
    assert 0.35 < is_mirrored(views(sided=False)).mean() < 0.65
    assert not is_mirrored(views(sided=True)).any()
    assert not is_mirrored(views(sided=False, flips=False)).any()


def test_what_is_left_of_the_middle_stays_there_where_a_caption_names_a_side():
    draws = np.random.default_rng(1).uniform(size=(500, 4)).astype(np.float32)
    boxes = crop_boxes(tf.constant(draws), tf.fill([500], True)).numpy()
    np.testing.assert_allclose(boxes[:, 1] + boxes[:, 3], 1, atol=1e-6)
    free = crop_boxes(tf.constant(draws), tf.fill([500], False)).numpy()
    assert np.abs(free[:, 1] + free[:, 3] - 1).max() > 0.15
    for made in (boxes, free):
        sizes = made[:, 2:] - made[:, :2]
        assert made.min() >= 0
        assert made.max() <= 1 + 1e-6
        assert 0.6 < sizes.prod(1).min() < 0.7
        aspects = sizes[:, 1] / sizes[:, 0]
        assert 0.74 < aspects.min() < 0.85 < 1.2 < aspects.max() < 1.34


def test_colours_change_and_red_stays_red():
    red = np.full((100, 4, 4, 3), (180, 40, 30), np.float32)
    draws = np.random.default_rng(1).uniform(size=(100, 3)).astype(np.float32)
    changed = change_colours(tf.constant(red), tf.constant(draws)).numpy()
    assert changed.std(0).min() > 3
    assert (changed[..., 0] > 2 * changed[..., 1:].max(-1)).all()
    same = change_colours(tf.constant(red), tf.fill([100, 3], 0.5))
    np.testing.assert_allclose(same, red, atol=1e-3)


# In training.


class OnlySpec:
    """What the input of images needs of a captioner."""

    spec = ENCODERS["small_cnn"]

    @property
    def encoder(self):
        return self


def epochs(train_files, **changes) -> TrainingBatches:
    recipe = config(augment=True, **changes)
    return TrainingBatches(recipe, train_files, OnlySpec(), cached=True, flips=True)


@pytest.mark.parametrize("records", ["scenes_records", "scenes_pairs"])
def test_a_view_is_a_function_of_seed_epoch_and_image(records, request):
    _, files = open_split(str(request.getfixturevalue(records)), "train", 20)
    cached, decoded = epochs(files), epochs(files, cache_memory_mb=0)
    first = list(cached.epoch(0))
    for skip, made in ((0, decoded), (2, cached), (3, decoded)):
        for a, b in zip(first[skip:], made.epoch(0, skip), strict=True):
            for field, other in zip(a, b, strict=True):
                np.testing.assert_array_equal(field, other)
    plain = TrainingBatches(config(), files, OnlySpec(), cached=False).epoch(0)
    assert first[0].inputs.shape == (4, 64, 64, 3)
    for batch, augmented in zip(plain, first, strict=True):
        np.testing.assert_array_equal(batch.image_ids, augmented.image_ids)
        np.testing.assert_array_equal(batch.ids, augmented.ids)
        assert np.abs(batch.inputs - augmented.inputs).mean() > 1
        assert 0 <= np.min(augmented.inputs) <= np.max(augmented.inputs) <= 255

    def by_image(batches) -> dict[int, np.ndarray]:
        return {
            int(image_id): image.numpy()
            for batch in batches
            for image_id, image in zip(batch.image_ids, batch.inputs, strict=True)
        }

    of_epochs = [
        by_image(made) for made in (first, cached.epoch(1), epochs(files, seed=9).epoch(0))
    ]
    for other in of_epochs[1:]:
        assert all(np.abs(other[i] - image).mean() > 0.5 for i, image in of_epochs[0].items())


def test_scenes_whose_captions_name_a_side_are_never_mirrored(scenes_records, monkeypatch):
    """As in training: captions come out of the records, images out of the cache."""
    _, files = open_split(str(scenes_records), "train")
    sided = {}
    for batch in stream(dataclasses.replace(files), OnlyImages(), "reading"):
        for image_id, texts in zip(batch.image_ids, batch.texts, strict=True):
            words = {word for text in texts for word in text.decode().lower().split()}
            sided[int(image_id)] = bool(words & {"left", "right"})
    assert 5 < sum(sided.values()) < 43
    asked = {}
    monkeypatch.setattr(
        AugmentedImages,
        "load",
        lambda self, keys: tf.numpy_function(
            lambda ids, named: (
                asked.update(zip(ids.tolist(), named.tolist(), strict=True))
                or np.zeros((len(ids), 1), np.float32)
            ),
            [keys[1], keys[2]],
            tf.float32,
        ),
    )
    list(epochs(files).epoch(0))
    assert asked == sided


class OnlyImages(OnlySpec):
    """An encoder that gives features of nothing."""

    def __call__(self, images):
        return tf.zeros([tf.shape(images)[0], 64, 128])


def test_crops_come_from_a_larger_square():
    assert [uncropped_side(size) for size in (64, 224, 299)] == [73, 256, 342]


@pytest.mark.usefixtures("idle_steps", "without_meteor")
def test_what_augmentation_does_and_costs_is_said(scenes_records, tmp_path, capsys):
    flags = {"records_dir": scenes_records, "max_steps": 1}
    assert train("--augment", run_dir=tmp_path / "frozen", **flags) == 0
    said = capsys.readouterr()
    assert "train images:" in said.err
    assert "train features:" not in said.err
    assert "val features:" in said.err  # validation sees the images as they are
    assert (
        "--augment: crops and colours in every epoch, mirror images where no caption names a side;"
        " no features are kept, so the encoder runs for every image of it\n" in said.out
    )
    assert train("--augment", "--encoder_trainable", run_dir=tmp_path / "tuned", **flags) == 0
    assert "names a side\n" in capsys.readouterr().out
    assert train("--noaugment", run_dir=tmp_path / "frozen", **flags) == 2
    assert "--augment=False contradicts the run" in one_error(capsys)
