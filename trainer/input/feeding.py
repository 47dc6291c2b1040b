"""Which words a caption is fed in training: its own, the model's, or <unk>.

Scheduled sampling takes two passes over a batch (Mihaylova and Martins 2019): the first, without
dropout and without a gradient, tells the model's likeliest word after each word of the caption; the
second is fed a mixture of these words and the caption's own. All words of a caption so go through
the recurrence in one go, as without it.
"""

import tensorflow as tf

from artifacts.recipe import Recipe
from model.captioner import Captioner
from records.vocabulary import END, UNK

_SAMPLED, _DROPPED = 0, 1  # places of the random numbers, so that no two share them


def fed_words(
    recipe: Recipe,
    captioner: Captioner,
    features: tf.Tensor,
    ids: tf.Tensor,
    seed: tf.Tensor,
    progress: tf.Tensor,
) -> tf.Tensor | None:
    """Return the words that captions are fed.

    Args:
        recipe: The recipe: shares of words.
        captioner: What finds words likely.
        features: [B, L, D] of the images.
        ids: [B, N, T + 1], the captions.
        seed: [2] int32, decides which words are replaced.
        progress: Share of the training that is done, float32, 0 to 1.

    Returns:
        [B, N, T] int32; None where these are the captions' own words.
    """
    if not recipe.scheduled_sampling and not recipe.word_dropout:
        return None
    fed = ids[:, :, :-1]
    # <start> stays, and so does what no real word follows.
    replaceable = tf.pad(ids[:, :, 2:] != 0, [[0, 0], [0, 0], [1, 0]])
    if recipe.scheduled_sampling:
        words = captioner.likeliest_words(features, ids)
        words = tf.pad(words[:, :, :-1], [[0, 0], [0, 0], [1, 0]])  # [..., t] is fed at t
        # A model that would end the caption here is fed the caption's word.
        chosen = _chosen(tf.shape(fed), recipe.scheduled_sampling * progress, seed, _SAMPLED)
        fed = tf.where(chosen & replaceable & (words > END), words, fed)
    if recipe.word_dropout:
        dropped = _chosen(tf.shape(fed), recipe.word_dropout, seed, _DROPPED)
        fed = tf.where(dropped & replaceable, UNK, fed)
    return fed


def _chosen(shape: tf.Tensor, share: tf.Tensor | float, seed: tf.Tensor, place: int) -> tf.Tensor:
    """Choose a share of the elements of a shape at random; bool."""
    # No dropout's seed is negative (`keep_mask`).
    seed = tf.stack([-1 - seed[0], 2 * seed[1] + place])
    return tf.random.stateless_uniform(shape, seed) < share
