"""A captioner small enough to differentiate in a moment, and batches to put into it."""

import os

import numpy as np
import tensorflow as tf

# The tests keep their stderr: model.quiet would take file descriptor 2 away from pytest.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from model.captioner import Captioner
from model.decoder import DecoderConfig
from model.encoder import Encoder

SIZES = {
    "vocabulary_size": 23,
    "feature_depth": 10,
    "rnn_units": 12,
    "embedding_dim": 9,
    "attention_units": 8,
    "feature_projection": 7,
}
LOCATIONS = 6
# One list an image: captions of ragged lengths, and an image with fewer of them than the others.
CAPTIONS = [
    [[1, 5, 6, 7, 2], [1, 8, 2], [1, 9, 10, 11, 12, 13, 2]],
    [[1, 14, 15, 2]],
    [[1, 16, 17, 18, 5, 2], [1, 19, 20, 6, 2]],
]


def small_captioner(seed: int = 0, **sizes) -> Captioner:
    """A captioner with every weight drawn anew: biases of 0 would hide that one is left out."""
    captioner = Captioner(Encoder("small_cnn"), DecoderConfig(**(SIZES | sizes)))
    rng = np.random.default_rng(seed)
    for variable in captioner.decoder.variables:
        fan_in = variable.shape[0] if len(variable.shape) > 1 else 4
        variable.assign(rng.normal(size=variable.shape) / np.sqrt(fan_in))
    return captioner


def some_features(images: int = len(CAPTIONS), seed: int = 0, depth: int = 10) -> tf.Tensor:
    """[B, L, D] float32."""
    shape = (images, LOCATIONS, depth)
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def padded(captions: list[list[list[int]]], texts: int = 0, words: int = 0) -> tf.Tensor:
    """Ids [B, N, T + 1] padded with 0, N and T + 1 at least `texts` and `words`."""
    texts = max(texts, *map(len, captions))
    words = max(words, *(len(ids) for image in captions for ids in image))
    whole = np.zeros((len(captions), texts, words), np.int32)
    for b, image in enumerate(captions):
        for n, ids in enumerate(image):
            whole[b, n, : len(ids)] = ids
    return tf.constant(whole)
