"""Validation: no dropout, no padding, and CIDEr of what greedy search says."""

import dataclasses

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from captioning.search_options import BeamSearch, GreedySearch, rules
from model.caption_generator import CaptionGenerator
from records.split_files import open_split
from records.vocabulary import SPECIAL, Vocabulary
from tests.support.captioner import CAPTIONS, padded, small_captioner, some_features
from tests.support.training import config
from trainer import losses, validation
from trainer.input.feature_cache import CaptionedFeatures
from trainer.validation import Validator, open_validation

WORDS = [*SPECIAL, *(f"word{n}" for n in range(4, 23))]
VOCABULARY = Vocabulary(WORDS, [1] * len(WORDS))


def captioned(captions, image_ids, features) -> CaptionedFeatures:
    texts = np.full((len(captions), 3), b"", object)
    for b, image in enumerate(captions):
        for n, ids in enumerate(image):
            texts[b, n] = " ".join(WORDS[i] for i in ids[1:-1]).encode()
    ids = padded(captions, texts=3, words=9).numpy()
    return CaptionedFeatures(np.array(image_ids), features, ids, texts)


@pytest.fixture(scope="module")
def captioner():
    return small_captioner()


def test_cross_entropy_and_cider_of_a_split(captioner):
    features = some_features(locations=64).numpy()
    split = captioned(CAPTIONS, [11, 12, 13], features)
    greedy_ids = CaptionGenerator([captioner]).greedy([features], rules()).ids.numpy()[:, 0]
    split.texts[0, 0] = " ".join(VOCABULARY.words_of(greedy_ids[0])).encode()  # or CIDEr would be 0
    score = Validator(captioner, VOCABULARY).score([split])
    forced = captioner.teacher_force(features, padded(CAPTIONS))
    expected = losses.mean(forced.nll, forced.real)
    assert score.cross_entropy == pytest.approx(float(expected), rel=1e-5)
    references = {b: [t.decode() for t in split.texts[b] if t] for b in range(3)}
    captions = {b: [" ".join(VOCABULARY.words_of(greedy_ids[b]))] for b in range(3)}
    assert score.cider > 0.1
    looked = CaptionGenerator([captioner]).greedy([features], rules())
    rows = [looked.attention[b, 0][greedy_ids[b] != 0].numpy() for b in range(3)]
    words = np.concatenate(rows)
    assert score.attention_entropy == pytest.approx(-(words * np.log(words)).sum(-1).mean())
    variance = np.mean([row.var(0).sum() for row in rows])
    assert score.temporal_variance == pytest.approx(variance, rel=1e-4)
    assert [sample.image_id for sample in score.samples] == [11, 12, 13]
    sample = score.samples[1].caption
    assert sample.words == tuple(VOCABULARY.words_of(greedy_ids[1]))
    attention = looked.attention[1, 0, : len(sample.words)].numpy().reshape(-1, 8, 8)
    np.testing.assert_allclose(sample.attention, attention)
    assert score.cider == pytest.approx(Cider().compute_score(references, captions)[0])
    bleu_4 = Bleu(4).compute_score(references, captions, verbose=0)[0][3]
    assert score.bleu_4 == score.scalars()["Bleu_4"] == pytest.approx(bleu_4)
    assert 0 < bleu_4 < score.cider


def test_a_beam_captions_as_the_run_searches(captioner):
    features = some_features(locations=64).numpy()
    split = captioned(CAPTIONS, [11, 12, 13], features)
    kept = {"length_penalty": 1.5, "no_repeat_ngram": 2, "min_length": 3, "max_words": 9}
    assert validation._search(1, kept) == GreedySearch(max_words=9)
    search = validation._search(2, kept | {"beam_size": 5})
    assert search == BeamSearch(beam_size=2, **kept)
    score = Validator(captioner, VOCABULARY, search).score([split])
    options = {"beam_size": 2, "length_penalty": 1.5}
    found = CaptionGenerator([captioner]).beam([features], rules(2, 3, 9), **options).ids.numpy()
    for sample, ids in zip(score.samples, found[:, 0], strict=True):
        assert sample.caption.words == tuple(VOCABULARY.words_of(ids))


@pytest.mark.parametrize("attention", ["static", "none"])
def test_an_attention_that_does_not_move_or_is_none(attention):
    captioner = small_captioner(attention=attention, seed=2)
    features = some_features(locations=64).numpy()
    score = Validator(captioner, VOCABULARY).score([captioned(CAPTIONS, [11, 12, 13], features)])
    assert any(len(sample.caption.words) > 1 for sample in score.samples)
    if attention == "static":
        assert score.scalars()["temporal_variance"] < 1e-12
        assert 0 < score.scalars()["attention_entropy"] < np.log(64) - 0.01
    else:
        assert score.scalars().keys() == {*("CIDEr", "Bleu_4", "cross_entropy", "perplexity")}
        assert [sample.caption.attention for sample in score.samples] == [None] * 3


def test_batches_weigh_by_their_words_and_pairs_are_one_image(captioner):
    features = some_features(locations=64).numpy()
    validator = Validator(captioner, VOCABULARY)
    expected = validator.score([captioned(CAPTIONS, [11, 12, 13], features)])[:4]
    batches = [captioned(CAPTIONS[b : b + 1], [11 + b], features[b : b + 1]) for b in range(3)]
    assert validator.score(batches)[:4] == pytest.approx(expected, rel=1e-5)
    pairs = [
        captioned([[ids]], [11 + b], features[b : b + 1])
        for b, image in enumerate(CAPTIONS)
        for ids in image
    ]
    assert validator.score(pairs)[:4] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("images", [1, 2])
def test_a_val_split_of_one_image_is_told(captioner, scenes_records, tmp_path, capsys, images):
    info, _ = open_split(str(scenes_records), "val")
    (shard,) = info.splits["val"].shards
    few = dataclasses.replace(
        info.splits["val"], shards=[dataclasses.replace(shard, images=images)]
    )
    info = dataclasses.replace(info, splits=info.splits | {"val": few})
    recipe = config(records_dir=scenes_records, run_dir=tmp_path)
    options = {"cached": False, "grid": None, "stamp": ""}
    assert open_validation(recipe, {}, info, captioner, VOCABULARY, **options)
    told = "1 image, whose CIDEr is always 0: the lowest loss is the best"
    assert (told in capsys.readouterr().out) == (images == 1)


def test_a_later_validation_is_of_the_later_weights():
    captioner, features = small_captioner(), some_features(locations=64).numpy()
    split = [captioned(CAPTIONS, [11, 12, 13], features)]
    validator = Validator(captioner, VOCABULARY)
    before = validator.score(split)
    later = small_captioner(seed=4)
    greedy_ids = CaptionGenerator([later]).greedy([features], rules()).ids.numpy()[:, 0]
    split[0].texts[1, 0] = " ".join(VOCABULARY.words_of(greedy_ids[1])).encode()
    captioner.decoder.set_weights(later.decoder.get_weights())
    after = validator.score(split)
    assert after[:4] == pytest.approx(Validator(later, VOCABULARY).score(split)[:4], rel=1e-5)
    assert after.cider > before.cider
