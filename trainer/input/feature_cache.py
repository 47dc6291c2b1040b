"""The features and captions of a split: streamed from the records once, or kept in memory.

Where the records hold the features, no encoder runs.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from artifacts.recipe import Recipe
from cli.progress import bar
from model.captioner import Captioner
from model.fast.frozen_encoder import FrozenEncoder
from model.fast.tracing import any_batch
from records.split_files import SplitFiles
from trainer.input import reading

ENCODER_BATCH = 32


class CaptionedFeatures(NamedTuple):
    """The features of B images and the captions of each, as numpy arrays."""

    image_ids: np.ndarray  # [B] int64
    features: np.ndarray  # [B, L, D] float16
    ids: np.ndarray  # [B, N, T] int32, padded with 0
    texts: np.ndarray  # [B, N] bytes, padded with b""


def stream(
    split_files: SplitFiles, captioner: Captioner, label: str, precision: str = "float32"
) -> Iterator[CaptionedFeatures]:
    """Read a split in the order on disk and encode its images, with a progress bar.

    Args:
        split_files: The split.
        captioner: Its encoder computes the features that the records do not hold.
        label: What the progress bar says, as "validating".
        precision: Of the encoder's matrix products. Training takes float32.

    Yields:
        Batches of up to `ENCODER_BATCH` images.
    """
    encode = _encoding(captioner, precision) if not split_files.grid else None
    batches = reading.batches_in_order(split_files, ENCODER_BATCH, captioner.encoder.spec.size)
    with bar(split_files.records, label, "img") as progress:
        for batch in reading.iterate(batches, split_files):
            features = encode(batch.inputs) if encode else batch.inputs
            yield CaptionedFeatures(
                batch.image_ids.numpy(), features.numpy(), batch.ids.numpy(), batch.texts.numpy()
            )
            progress.update(len(batch.image_ids))


def _encoding(captioner: Captioner, precision: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the encoder with its weights as they are now: images -> features [B, L, D] float16."""
    if precision == "float32":
        return any_batch(lambda images: tf.cast(captioner.encoder(images), tf.float16))
    frozen = FrozenEncoder(captioner.encoder, precision, None)
    depth = frozen.spec.grid[-1]
    return lambda images: tf.reshape(frozen(images.numpy()), [len(images), -1, depth])


@dataclasses.dataclass(frozen=True)
class FeatureCache:
    """A whole split in memory.

    Attributes:
        split: All images of the split, in the order on disk.
    """

    split: CaptionedFeatures

    @classmethod
    def fill(
        cls, split_files: SplitFiles, captioner: Captioner, precision: str = "float32"
    ) -> "FeatureCache":
        """Read a split once; arguments as for `stream`."""
        height, width, depth = captioner.encoder.spec.grid
        # One allocation: concatenating batches would hold the features twice.
        features = np.empty((split_files.records, height * width, depth), np.float16)
        batches: list[CaptionedFeatures] = []
        filled = 0
        for batch in stream(split_files, captioner, f"{split_files.split} features", precision):
            features[filled : filled + len(batch.features)] = batch.features
            filled += len(batch.features)
            batches.append(batch._replace(features=np.empty(0)))
        return cls(
            CaptionedFeatures(
                image_ids=_join([batch.image_ids for batch in batches]),
                features=features,
                ids=_join([batch.ids for batch in batches]),
                texts=_join([batch.texts for batch in batches]),
            )
        )

    def batches(self, batch_size: int) -> Iterator[CaptionedFeatures]:
        """Yield the split in order, `batch_size` images at a time."""
        for start in range(0, len(self.split.features), batch_size):
            yield CaptionedFeatures(*(array[start : start + batch_size] for array in self.split))

    def elements(self) -> tf.data.Dataset:
        """Return a data set of (index, ids [N, T], image id) of every image."""
        ids, image_ids = self.split.ids, self.split.image_ids
        return tf.data.Dataset.from_tensor_slices((np.arange(len(ids)), ids, image_ids))

    def load(self, indices: tf.Tensor) -> tf.Tensor:
        """Look up features.

        Args:
            indices: [B], as in `elements`.

        Returns:
            [B, L, D] float16.
        """
        features = self.split.features
        # A numpy function and not a constant, because a graph holds 2 GB at most.
        batch = tf.numpy_function(lambda i: features[i], [indices], tf.float16, stateful=False)
        batch.set_shape([None, *features.shape[1:]])
        return batch


def _join(arrays: list[np.ndarray]) -> np.ndarray:
    """Concatenate along the first axis, padding the other axes with zeros or empty strings."""
    shape = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    padding = b"" if arrays[0].dtype == object else 0
    joined = np.full((sum(map(len, arrays)), *shape), padding, arrays[0].dtype)
    filled = 0
    for array in arrays:
        place = (slice(filled, filled + len(array)), *(slice(size) for size in array.shape[1:]))
        joined[place] = array
        filled += len(array)
    return joined


def cache_bytes(split_files: SplitFiles, captioner: Captioner) -> int:
    """Return how many bytes the features of a split take in memory."""
    return 2 * split_files.records * int(np.prod(captioner.encoder.spec.grid))


def fits_in_memory(recipe: Recipe, captioner: Captioner, train: SplitFiles) -> bool:
    """Tell whether the training features are kept in memory; print a line when they do not fit.

    Features of an encoder that is trained change with every step, so they are never kept.
    """
    if recipe.encoder_trainable:
        return False
    needed = cache_bytes(train, captioner) / 1e6
    if needed <= recipe.cache_memory_mb:
        return True
    each_epoch = "they are read" if train.grid else "the encoder runs"
    print(
        f"the training features take {math.ceil(needed):,} MB, more than --cache_memory_mb="
        f"{recipe.cache_memory_mb:,}: {each_epoch} anew in every epoch"
    )
    return False
