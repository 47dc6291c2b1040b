"""The captioner as a whole: its greedy captions are those of its own step, word by word."""

import numpy as np
from trainer_support import padded, small_captioner, some_features

SPECIAL = {"start": 1, "end": 2, "banned": (0, 1, 3)}


def lively():
    """A captioner whose captions end at different words, and features for five of them."""
    captioner = small_captioner(0)
    captioner.decoder.embedding.assign(captioner.decoder.embedding * 5)
    return captioner, some_features(5, seed=2) * 3


def test_greedy_says_the_likeliest_words_and_their_probability():
    captioner, features = lively()
    said = captioner.greedy(features, **SPECIAL)
    captions = [[[1, *(int(i) for i in ids if i)]] for ids in said.ids]
    assert len({len(c[0]) for c in captions}) > 2
    # Step by step on what was said, each word is the argmax.
    decoder, ids = captioner.decoder, padded(captions)
    memory = decoder.memory(features)
    state = decoder.initial_state(memory, 1)
    for t in range(ids.shape[-1] - 1):
        logits, state, _ = decoder.step(ids[:, :, t], state, memory)
        logits = logits.numpy()[:, 0]
        logits[:, list(SPECIAL["banned"])] = -np.inf
        word = ids.numpy()[:, 0, t + 1]
        np.testing.assert_array_equal(logits.argmax(-1)[word != 0], word[word != 0])
    # Teacher forcing on what was said: the scores add up.
    forced = captioner.forced(features, ids)
    np.testing.assert_allclose(
        said.log_probability, -np.sum(forced.nll[:, :, 0], axis=0), rtol=1e-4
    )
    np.testing.assert_allclose(
        forced.attention.numpy()[:, :, 0].transpose(1, 0, 2)[forced.real.numpy()[:, :, 0].T],
        said.attention.numpy()[said.ids.numpy() != 0],
        atol=1e-5,
    )


def test_batched_equals_one_at_a_time():
    captioner, features = lively()
    batched = captioner.greedy(features, **SPECIAL)
    for image in range(5):
        alone = captioner.greedy(features[image : image + 1], **SPECIAL)
        n = alone.ids.shape[1]
        np.testing.assert_array_equal(batched.ids[image, :n], alone.ids[0])
        np.testing.assert_allclose(
            batched.log_probability[image], alone.log_probability[0], rtol=1e-4
        )
