"""What training is measured on: a batch of captions like COCO's, and the products it needs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

# PyTorch's processes must not load TensorFlow: triton aborts where both are loaded.
if TYPE_CHECKING:
    from model.definition.decoder import DecoderConfig

IMAGES, CAPTIONS, VOCABULARY, UNITS = 16, 5, 10_000, 512
SIZES = {"S": (7, 7, 1056), "L": (11, 11, 4032)}  # NASNet-Mobile and NASNet-Large
_WINDOW = 32  # batches sorted by length together, as the trainer does
# Captions of COCO val2017 by their number of words, <end> counted, per mille, from _SHORTEST words
# on. The last number holds all that are longer.
_SHORTEST = 8
_SHARES = (8, 161, 222, 214, 152, 100, 58, 33, 19, 11, 7, 4, 3, 2, 5)


@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        features: [B, L, D] float16.
        ids: [B, N, T + 1] int32, an image's longest caption first.
    """

    features: np.ndarray
    ids: np.ndarray

    @property
    def words(self) -> int:
        """Words to predict, <end> counted."""
        return int((self.ids[:, :, 1:] != 0).sum())


def batch(size: str, seed: int = 0, images: int = IMAGES) -> Batch:
    """Draw a batch.

    The trainer sorts a window of captions by length and cuts batches from it; this is the batch in
    the window's middle.

    Args:
        size: a key of `SIZES`.
        seed: of the random numbers.
        images: B.
    """
    rng = np.random.default_rng(seed)
    height, width, depth = SIZES[size]
    shares = np.array(_SHARES) / sum(_SHARES)
    lengths = rng.choice(len(shares), (images * _WINDOW, CAPTIONS), p=shares) + _SHORTEST
    lengths = -np.sort(-lengths, 1)
    lengths = lengths[np.argsort(lengths[:, 0], kind="stable")]
    lengths = lengths[images * _WINDOW // 2 :][:images]
    ids = rng.integers(4, VOCABULARY, (images, CAPTIONS, lengths.max() + 1))
    place = np.arange(ids.shape[-1])
    ids[:, :, 0] = 1
    ids[place == lengths[..., None]] = 2
    ids[place > lengths[..., None]] = 0
    features = rng.uniform(size=(images, height * width, depth)).astype(np.float16)
    return Batch(features, ids.astype(np.int32))


def decoder_config(size: str, recipe: bool, precision: str) -> DecoderConfig:
    """Return the sizes of our recipe's decoder, or of the textbook's.

    Args:
        size: a key of `SIZES`.
        recipe: ours, with feature projection and deep output; else the textbook's without them.
        precision: of the products, "float32" or "bfloat16".
    """
    from model.definition.decoder import DecoderConfig

    return DecoderConfig(
        vocabulary_size=VOCABULARY,
        feature_depth=SIZES[size][2],
        rnn_units=UNITS,
        embedding_dim=UNITS,
        attention_units=UNITS,
        feature_projection=512 if recipe else 0,
        deep_output=recipe,
        precision=precision,
    )


def gigaflop(config: DecoderConfig, batch: Batch) -> float:
    """Return the work of the matrix products that a step needs, in 10^9 operations.

    Each product forward has two backward, for the gradients of its two inputs. Features need no
    gradient. What an image's captions share is counted once.

    Args:
        config: sizes of the decoder.
        batch: what it is trained on.
    """
    units, embedding, attention = config.rnn_units, config.embedding_dim, config.attention_units
    images, locations, _ = batch.features.shape
    depth = config.feature_projection or config.feature_depth
    trained = 3 if config.feature_projection else 2
    image = locations * depth * attention * trained + 2 * depth * units * trained
    image += locations * config.feature_depth * config.feature_projection * 2
    word = 4 * units * (units + embedding + depth) + units * attention
    word += units * depth * config.gate + locations * (attention + depth)
    if config.deep_output:
        word += embedding * (units + depth + embedding + config.vocabulary_size)
    else:
        word += units * config.vocabulary_size
    return 2e-9 * (images * image + batch.words * 3 * word)
