"""A captioner small enough to differentiate in a moment, and comparisons of what it computes."""

import numpy as np
import tensorflow as tf

from model.captioner import Captioner
from model.definition import forcing
from model.definition.decoder import DecoderConfig
from model.encoder import Encoder
from trainer import losses

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


def small_captioner(seed: int = 0, encoder: str = "small_cnn", **sizes) -> Captioner:
    """Return a captioner with random weights. Biases of 0 would hide one that is left out."""
    captioner = Captioner(Encoder(encoder), DecoderConfig(**(SIZES | sizes)))
    rng = np.random.default_rng(seed)
    for variable in captioner.decoder.variables:
        fan_in = variable.shape[0] if len(variable.shape) > 1 else 4
        variable.assign(rng.normal(size=variable.shape) / np.sqrt(fan_in))
    return captioner


def some_features(
    images: int = len(CAPTIONS), seed: int = 0, depth: int = 10, locations: int = LOCATIONS
) -> tf.Tensor:
    """Return random features, [B, L, D] float32."""
    shape = (images, locations, depth)
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


NOTHING = {
    "doubly_stochastic_weight": 0.0,
    "attention_entropy_weight": 0.0,
    "label_smoothing": 0.0,
}
EVERYTHING = {
    "doubly_stochastic_weight": 0.7,
    "attention_entropy_weight": 0.3,
    "label_smoothing": 0.2,
}


def forced_loss(captioner, features, ids, weights=NOTHING, formulation=forcing, **options):
    """Return training's losses, and their gradients for every decoder weight and the features."""
    weights = dict(weights)
    options["label_smoothing"] = weights.pop("label_smoothing")
    variables = [v.value for v in captioner.decoder.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(features)
        forced = formulation.teacher_force(captioner.decoder, features, ids, **options)
        result = losses.objective(forced, captioner.decoder.dense_kernels, l2_weight=0.0, **weights)
    return result, gradients_of(tape, result.total, captioner, variables, features)


def gradients_of(tape, loss, captioner, variables, features) -> dict[str, np.ndarray]:
    """Return the dense gradients: path of a weight, or "features" -> gradient."""
    gradients = tape.gradient(loss, [*variables, features])
    names = [*(v.path for v in captioner.decoder.trainable_variables), "features"]
    return {name: tf.convert_to_tensor(g).numpy() for name, g in zip(names, gradients, strict=True)}


def assert_same(gradients, expected, tolerance=1e-4) -> None:
    """Compare gradients, relative to the greatest element of each where that is above 1."""
    assert gradients.keys() == expected.keys()
    for name in expected:
        scale = max(1.0, np.abs(expected[name]).max())
        np.testing.assert_allclose(
            gradients[name] / scale, expected[name] / scale, atol=tolerance, err_msg=name
        )


def padded(captions: list[list[list[int]]], texts: int = 0, words: int = 0) -> tf.Tensor:
    """Return ids [B, N, T + 1] padded with 0; N and T + 1 are at least `texts` and `words`."""
    texts = max(texts, *map(len, captions))
    words = max(words, *(len(ids) for image in captions for ids in image))
    ids_of_all = np.zeros((len(captions), texts, words), np.int32)
    for b, image in enumerate(captions):
        for n, ids in enumerate(image):
            ids_of_all[b, n, : len(ids)] = ids
    return tf.constant(ids_of_all)
