"""What a caption carries beside its words: only what was asked for, and of its own words."""

import numpy as np
import pytest
import tensorflow as tf

from captioning.feature_captioner import FeatureCaptioner
from captioning.search_options import BeamSearch, GreedySearch, Sampling
from records.vocabulary import END, PAD, SPECIAL, START, UNK, Vocabulary
from tests.support.captioner import small_captioner, some_features

WORDS = [*SPECIAL, *(f"word{n}" for n in range(4, 23))]
VOCABULARY = Vocabulary(WORDS, [1] * len(WORDS))


@pytest.fixture(scope="module")
def captioner():
    return small_captioner()


def test_attention_and_log_probabilities_are_given_on_request(captioner):
    features = FeatureCaptioner([captioner], VOCABULARY, GreedySearch())
    result = features.search([some_features(locations=64)])
    plain, full = (
        features.captions(result),
        features.captions(result, attention=True, log_probabilities=True),
    )
    for image, ([bare], [rich]) in enumerate(zip(plain, full, strict=True)):
        assert bare.attention is None and bare.log_probabilities is None
        assert bare.words == rich.words and bare.score == rich.score
        assert rich.attention.shape == (len(rich.words), 8, 8)
        np.testing.assert_allclose(rich.attention.sum((1, 2)), 1, rtol=1e-5)
        ended = END in result.ids[image, 0].numpy()
        assert len(rich.log_probabilities) == len(rich.words) + ended
        # Greedy search scores a caption by the sum of them: none is missing, none too many.
        assert rich.log_probabilities.sum() == pytest.approx(rich.score, rel=1e-5)
        assert (rich.log_probabilities < 0).all()


def test_attention_is_that_of_the_first_captioner_that_has_one(captioner):
    blind = small_captioner(seed=3, attention="none")
    few, many = some_features(locations=6), some_features(locations=64)
    alone = FeatureCaptioner([blind], VOCABULARY, GreedySearch())
    for [caption] in alone.captions(alone.search([few]), attention=True):
        assert caption.attention is None and caption.words
    # The members see the image on grids of their own.
    for members, features in (([blind, captioner], [few, many]), ([captioner, blind], [many, few])):
        together = FeatureCaptioner(members, VOCABULARY, GreedySearch(max_words=3))
        result = together.search(features)
        for image, [caption] in enumerate(together.captions(result, attention=True)):
            assert caption.attention.shape == (len(caption.words), 8, 8)
            memory = captioner.decoder.memory(many[image : image + 1])
            start = captioner.decoder.initial_state(memory, 1)
            _, _, alpha = captioner.decoder.step(tf.constant([[START]]), start, memory)
            np.testing.assert_allclose(caption.attention[0].ravel(), alpha[0, 0], atol=1e-5)


def test_drops_are_of_the_words_of_the_best_caption_and_of_the_images_seed(captioner):
    features = [some_features(images=4, locations=64)]
    beam = FeatureCaptioner([captioner], VOCABULARY, BeamSearch(n_best=2, max_words=6))
    result = beam.search(features)
    captions = beam.captions(result)
    hidden = beam.with_drops(captions, result, features, np.array([7, -8, 9, 7]))
    for bare, (best, *others) in zip(captions, hidden, strict=True):
        assert [best._replace(drops=None), *others] == bare and others[0].drops is None
        assert all(x.shape == (len(best.words),) for x in best.drops)
    # An image's drops depend on its seed alone, not on what else is in the batch.
    alone = [features[0][2:3]]
    result = beam.search(alone)
    [[best, _]] = beam.with_drops(beam.captions(result), result, alone, np.array([9]))
    for x, y in zip(best.drops, hidden[2][0].drops, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)
    [[other, _]] = beam.with_drops(beam.captions(result), result, alone, np.array([8]))
    np.testing.assert_array_equal(other.drops.most, best.drops.most)
    assert np.abs(other.drops.random - best.drops.random).max() > 1e-4


SEARCHES = {
    "greedy": GreedySearch(),
    "beam": BeamSearch(n_best=3),
    "sampling": Sampling(sample=True),
    "sampling, the likeliest": Sampling(sample=True, top_k=2, top_p=0.5),
}


@pytest.mark.parametrize("search", SEARCHES)
def test_words_that_no_caption_has_are_never_said(search):
    captioner = small_captioner()
    features = FeatureCaptioner([captioner], VOCABULARY, SEARCHES[search])
    _, bias = captioner.decoder.output_logits
    before = bias.numpy()
    for word in (PAD, START, UNK):
        logits = before.copy()
        logits[word] += 30  # by far the likeliest
        logits[END] -= 5
        bias.assign(logits)
        features.refresh()
        seeds = tf.constant([[1, n] for n in range(3)], tf.int64)
        ids = features.search([some_features()], seeds).ids.numpy()
        lengths = (ids != 0).sum(-1)
        assert lengths.min() > 3
        for image, n in np.ndindex(lengths.shape):
            said = ids[image, n, : lengths[image, n]]
            assert not {PAD, START, UNK} & set(said.tolist()), word


def test_hypotheses_that_do_not_exist_are_left_out(captioner):
    search = BeamSearch(beam_size=3, n_best=3, no_repeat_ngram=0)
    features = FeatureCaptioner([captioner], VOCABULARY, search)
    result = features.search([some_features(locations=64)])
    gone = result.score.numpy()
    gone[1, 1:] = -np.inf
    captions = features.captions(result._replace(score=result.score * 0 + gone))
    assert [len(of_image) for of_image in captions] == [3, 1, 3]
    assert all(
        [c.score for c in of_image] == sorted((c.score for c in of_image), reverse=True)
        for of_image in captions
    )
