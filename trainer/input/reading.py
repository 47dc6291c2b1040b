"""Read records with tf.data, in the order on disk; order.py makes training batches of them.

One record is one image and its captions, so a batch of B images needs B decodes and B passes of the
encoder for all their captions.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from cli.errors import UserError
from model.decoding import decode
from records import schema
from records.split_files import SplitFiles

# Parallel calls of a stage, set here because `iterate` turns tf.data's autotuning off. Each call
# holds an image or a batch of them.
PARALLEL_CALLS = min(32, len(os.sched_getaffinity(0)))
_MAX_OPEN_SHARDS = 16
_ALL = -1  # of a shard's records, for `take`


class Record(NamedTuple):
    """One record as tensors: an image and its N captions."""

    image_id: tf.Tensor  # [] int64
    file_name: tf.Tensor  # [] string
    encoded: tf.Tensor  # [] string, a JPEG or PNG; empty in feature shards
    orientation: tf.Tensor  # [] int64, the EXIF orientation of the JPEG or PNG, 1 to 8
    features: tf.Tensor  # [] string, float16 little-endian; empty in image shards
    ids: tf.Tensor  # [N, T] int32, padded with 0
    texts: tf.Tensor  # [N] string


class StoredImage(NamedTuple):
    """An image as records store it; in a batch both are [B]."""

    encoded: tf.Tensor  # [] string
    orientation: tf.Tensor  # [] int64


class RecordBatch(NamedTuple):
    """B records as the model takes them."""

    image_ids: tf.Tensor  # [B] int64
    inputs: tf.Tensor  # images [B, size, size, 3] float32 in 0..255, or features [B, L, D] float16
    ids: tf.Tensor  # [B, N, T] int32, padded with 0
    texts: tf.Tensor  # [B, N] string, padded with empty ones


class InputSource(Protocol):
    """Where the inputs of batches come from."""

    def stored(self, record: Record) -> Any:
        """Return the key of a record's input: a scalar, or a tuple of scalars."""

    def load(self, stored: Any) -> tf.Tensor:
        """Return the inputs [B, ...] of keys, each [B]."""


@dataclasses.dataclass(frozen=True)
class InputLoader:
    """Turns what records store into what the model takes: images or features.

    Attributes:
        size: Side of the images, pixels.
        grid: Grid of the stored features to take in place of the images; None for images.
        dtype: Of the images: float32, or uint8, rounded.
    """

    size: int
    grid: tuple[int, int, int] | None
    dtype: tf.DType = tf.float32

    def stored(self, record: Record) -> tf.Tensor | StoredImage:
        """Return what to load: the image, or the bytes of its features."""
        return record.features if self.grid else StoredImage(record.encoded, record.orientation)

    def load(self, stored: tf.Tensor | StoredImage) -> tf.Tensor:
        """Decode the images, or reshape the features.

        Args:
            stored: A batch of what `stored` returns, each [B].

        Returns:
            Images [B, size, size, 3] in 0..255, or features [B, L, D] float16.
        """
        if self.grid is None:
            images = decode_images(stored, self.size)
            return images if self.dtype == tf.float32 else tf.cast(tf.round(images), self.dtype)
        height, width, depth = self.grid
        values = tf.io.decode_raw(stored, tf.float16, little_endian=True)
        return tf.reshape(values, [tf.shape(stored)[0], height * width, depth])


def iterate(dataset: tf.data.Dataset, split_files: SplitFiles) -> Iterator[Any]:
    """Iterate over what was read from a split; a record that cannot be read is a `UserError`.

    Args:
        dataset: Elements made of the records of the split.
        split_files: The split, for the error message.

    Yields:
        The elements of `dataset`.

    Raises:
        UserError: A record is damaged, or its image cannot be decoded.
    """
    # At its end an iterator waits for the thread that tunes it. TensorFlow 2.21's tuner sleeps for
    # as long again as the iterator lived, up to a minute: every epoch would end with that wait.
    options = tf.data.Options()
    options.autotune.enabled = False
    iterator = iter(dataset.with_options(options))
    while True:
        try:
            element = next(iterator)
        except StopIteration:
            return
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            folder = split_files.folder
            raise UserError(
                f"{folder}: a record of the split {split_files.split!r} cannot be read"
                f" ({str(error).splitlines()[0][:300]}); `python -m pipeline.verify_records"
                f" --records_dir={folder} --decode` names it"
            ) from None
        yield element


def parse(serialized: tf.Tensor) -> Record:
    """Parse one serialised record."""
    context, lists = tf.io.parse_single_sequence_example(
        serialized,
        context_features={
            schema.IMAGE_ID: tf.io.FixedLenFeature([], tf.int64),
            schema.FILE_NAME: tf.io.FixedLenFeature([], tf.string),
            schema.ENCODED: tf.io.FixedLenFeature([], tf.string, ""),
            schema.ORIENTATION: tf.io.FixedLenFeature([], tf.int64, 1),
            schema.FEATURES: tf.io.FixedLenFeature([], tf.string, ""),
        },
        sequence_features={
            schema.CAPTION_IDS: tf.io.VarLenFeature(tf.int64),
            schema.CAPTION_TEXT: tf.io.FixedLenSequenceFeature([], tf.string),
        },
    )
    return Record(
        image_id=context[schema.IMAGE_ID],
        file_name=context[schema.FILE_NAME],
        encoded=context[schema.ENCODED],
        orientation=context[schema.ORIENTATION],
        features=context[schema.FEATURES],
        ids=tf.cast(tf.sparse.to_dense(lists[schema.CAPTION_IDS]), tf.int32),
        texts=lists[schema.CAPTION_TEXT],
    )


def parsed_records(split_files: SplitFiles, shard_seed: int | None = None) -> tf.data.Dataset:
    """Read a split, several shards side by side.

    Args:
        split_files: The split.
        shard_seed: Shuffles the order of the shards; None keeps it.

    Returns:
        A data set of `Record`.
    """
    paths = list(map(os.fsencode, split_files.paths))
    counts = [*[_ALL] * (len(paths) - 1), split_files.last_shard_records or _ALL]
    shards = list(zip(paths, counts, strict=True))
    cycle_length = min(_MAX_OPEN_SHARDS, len(shards))
    if shard_seed is not None:
        np.random.default_rng(shard_seed).shuffle(shards)
    names, takes = zip(*shards, strict=True)
    return (
        tf.data.Dataset.from_tensor_slices((list(names), np.array(takes, np.int64)))
        .interleave(
            lambda path, records: tf.data.TFRecordDataset(path).take(records),
            cycle_length=cycle_length,
            num_parallel_calls=min(PARALLEL_CALLS, cycle_length),
            deterministic=True,
        )
        .map(parse, num_parallel_calls=PARALLEL_CALLS, deterministic=True)
    )


def batches_in_order(split_files: SplitFiles, batch_size: int, size: int) -> tf.data.Dataset:
    """Read a split once, in the order on disk.

    Args:
        split_files: The split; its `grid` says whether features take the place of the images.
        batch_size: B.
        size: Side of the images, pixels.

    Returns:
        A data set of `RecordBatch`.
    """
    loader = InputLoader(size, split_files.grid)

    def decoded(record: Record) -> RecordBatch:
        one = tf.nest.map_structure(lambda tensor: tensor[None], loader.stored(record))
        inputs = loader.load(one)[0]
        return RecordBatch(record.image_id, inputs, record.ids, record.texts)

    return (
        parsed_records(split_files)
        .map(decoded, num_parallel_calls=PARALLEL_CALLS, deterministic=True)
        .padded_batch(batch_size)
        .prefetch(2)
    )


def decode_images(images: StoredImage, size: int) -> tf.Tensor:
    """Decode images.

    Args:
        images: B images.
        size: Side of the result, pixels.

    Returns:
        [B, size, size, 3] float32 in 0..255.
    """
    return tf.map_fn(
        lambda image: decode(image.encoded, image.orientation, size),
        images,
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
    )
