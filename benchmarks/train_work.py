"""What training is measured on: batches of COCO-like captions, and the products that they need."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # PyTorch's processes hold no TensorFlow: where both are loaded, triton aborts
    from model.definition.decoder import DecoderConfig

IMAGES, CAPTIONS, VOCABULARY, UNITS = 16, 5, 10_000, 512
SIZES = {"S": (7, 7, 1056), "L": (11, 11, 4032)}  # NASNet-Mobile and NASNet-Large
_WINDOW = 32  # batches sorted by length together, as the trainer does
# COCO val2017's captions by words, <end> counted, of 1000; longer ones count as the last.
_SHORTEST = 8
_SHARES = (8, 161, 222, 214, 152, 100, 58, 33, 19, 11, 7, 4, 3, 2, 5)


@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch: features [B, L, D] float16, ids [B, N, T + 1] int32 with the longest first."""

    features: np.ndarray
    ids: np.ndarray

    @property
    def words(self) -> int:
        """Words to be said, <end> counted."""
        return int((self.ids[:, :, 1:] != 0).sum())


def batch(size: str, seed: int = 0) -> Batch:
    """A batch of a size; that of the median longest caption in a window of batches."""
    rng = np.random.default_rng(seed)
    height, width, depth = SIZES[size]
    shares = np.array(_SHARES) / sum(_SHARES)
    lengths = rng.choice(len(shares), (IMAGES * _WINDOW, CAPTIONS), p=shares) + _SHORTEST
    lengths = -np.sort(-lengths, 1)
    lengths = lengths[np.argsort(lengths[:, 0], kind="stable")]
    lengths = lengths[IMAGES * _WINDOW // 2 :][:IMAGES]
    ids = rng.integers(4, VOCABULARY, (IMAGES, CAPTIONS, lengths.max() + 1))
    at = np.arange(ids.shape[-1])
    ids[:, :, 0] = 1
    ids[at == lengths[..., None]] = 2
    ids[at > lengths[..., None]] = 0
    features = rng.uniform(size=(IMAGES, height * width, depth)).astype(np.float16)
    return Batch(features, ids.astype(np.int32))


def config(size: str, recipe: bool, precision: str) -> DecoderConfig:
    """The recipe's decoder, or the textbook's: a gate, no projection, no deep output."""
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
    """Of the matrix products that a step cannot do without, each image's features used once.

    A product forward, and one for each of its two gradients; features have none.
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
