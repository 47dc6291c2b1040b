"""A split as features and captions: from memory where frozen features fit, else image by image.

Records may hold the features; then no encoder runs.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cli.progress import bar
from model.captioner import Captioner
from model.fast.tracing import any_batch
from records.split_files import SplitFiles
from trainer.input import reading as records_input

ENCODER_BATCH = 32


class Examples(NamedTuple):
    """B images with their captions, as numpy arrays."""

    image_ids: np.ndarray  # [B] int64
    features: np.ndarray  # [B, L, D] float16
    ids: np.ndarray  # [B, N, T] int32, padded with 0
    texts: np.ndarray  # [B, N] bytes, padded with b""


def stream(split_files: SplitFiles, captioner: Captioner, what: str) -> Iterator[Examples]:
    """Read a split in the order on disk, encoding its images, with a progress bar.

    Call arguments:
        what: says what goes on, before the bar.
    """
    encode = any_batch(lambda images: tf.cast(captioner.encoder(images), tf.float16))
    batches = records_input.in_order(split_files, ENCODER_BATCH, captioner.encoder.spec.size)
    with bar(split_files.records, what, "img") as progress:
        for parts in records_input.readable(batches, split_files):
            inputs = parts["inputs"]
            features = (inputs if split_files.grid else encode(inputs)).numpy()
            image_ids, ids, texts = (parts[key].numpy() for key in ("image_id", "ids", "texts"))
            yield Examples(image_ids, features, ids, texts)
            progress.update(len(image_ids))


@dataclasses.dataclass(frozen=True)
class FeatureCache:
    """A whole split in memory."""

    examples: Examples

    @classmethod
    def fill(cls, split_files: SplitFiles, captioner: Captioner) -> "FeatureCache":
        """Read a split once."""
        height, width, depth = captioner.encoder.spec.grid
        # One allocation: concatenating batches would hold the features twice.
        features = np.empty((split_files.records, height * width, depth), np.float16)
        parts, filled = [], 0
        for batch in stream(split_files, captioner, f"{split_files.split} features"):
            features[filled : filled + len(batch.features)] = batch.features
            filled += len(batch.features)
            parts.append(batch._replace(features=np.empty(0)))
        rest = {
            name: _joined([getattr(part, name) for part in parts])
            for name in ("image_ids", "ids", "texts")
        }
        return cls(Examples(features=features, **rest))

    def batches(self, batch_size: int) -> Iterator[Examples]:
        """The split in order, a batch at a time."""
        for start in range(0, len(self.examples.features), batch_size):
            yield Examples(*(part[start : start + batch_size] for part in self.examples))

    def elements(self) -> tf.data.Dataset:
        """(index, ids [N, T], image id) of every image."""
        ids, image_ids = self.examples.ids, self.examples.image_ids
        return tf.data.Dataset.from_tensor_slices((np.arange(len(ids)), ids, image_ids))

    def load(self, indices: tf.Tensor) -> tf.Tensor:
        """Indices [B] -> features [B, L, D] float16."""
        features = self.examples.features
        # A numpy function and not a constant: graphs hold 2 GB at most.
        batch = tf.numpy_function(lambda i: features[i], [indices], tf.float16, stateful=False)
        batch.set_shape([None, *features.shape[1:]])
        return batch


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenate along the first axis, the others padded with zeros or empty strings."""
    shape = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
    padding = b"" if parts[0].dtype == object else 0
    whole = np.full((sum(map(len, parts)), *shape), padding, parts[0].dtype)
    filled = 0
    for part in parts:
        place = (slice(filled, filled + len(part)), *(slice(n) for n in part.shape[1:]))
        whole[place] = part
        filled += len(part)
    return whole


def cache_bytes(split_files: SplitFiles, captioner: Captioner) -> int:
    """What a split's features take in memory."""
    return 2 * split_files.records * int(np.prod(captioner.encoder.spec.grid))
