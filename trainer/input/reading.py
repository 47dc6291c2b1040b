"""Reading records with tf.data, in the order on disk.

One record is one image and its captions, so that a batch of B images needs B decodes and B passes
of the encoder for all their captions. order.py makes training batches of them.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from cli.errors import UserError
from model.encoder import decode
from records import schema
from records.split_files import SplitFiles

# Set by us, for tf.data's autotuning is off (`readable`). A call holds an image or a batch of them.
PARALLEL = min(32, len(os.sched_getaffinity(0)))


def readable(batches: tf.data.Dataset, split_files: SplitFiles) -> Iterator[Any]:
    """The batches of a split, one by one.

    Raises:
        UserError: a record is damaged, or its image cannot be decoded.
    """
    # At its end an iterator waits for the thread that tunes it, and TensorFlow 2.21's sleeps on: as
    # long again as the iterator lived, up to a minute. Every epoch would end with such a wait.
    options = tf.data.Options()
    options.autotune.enabled = False
    iterator = iter(batches.with_options(options))
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            folder = split_files.folder
            raise UserError(
                f"{folder}: a record of the split {split_files.split!r} cannot be read"
                f" ({str(error).splitlines()[0][:300]}); `python -m pipeline.verify_records"
                f" --records_dir={folder} --decode` names it"
            ) from None
        yield batch


def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
    """One serialised record -> its parts.

    Returns: image_id int64, file_name string, encoded string (empty in feature shards), features
    string (empty in image shards), ids [N, T] int32 padded with 0, texts [N] string.
    """
    context, lists = tf.io.parse_single_sequence_example(
        record,
        context_features={
            schema.IMAGE_ID: tf.io.FixedLenFeature([], tf.int64),
            schema.FILE_NAME: tf.io.FixedLenFeature([], tf.string),
            schema.ENCODED: tf.io.FixedLenFeature([], tf.string, ""),
            schema.FEATURES: tf.io.FixedLenFeature([], tf.string, ""),
        },
        sequence_features={
            schema.CAPTION_IDS: tf.io.VarLenFeature(tf.int64),
            schema.CAPTION_TEXT: tf.io.FixedLenSequenceFeature([], tf.string),
        },
    )
    return {
        "image_id": context[schema.IMAGE_ID],
        "file_name": context[schema.FILE_NAME],
        "encoded": context[schema.ENCODED],
        "features": context[schema.FEATURES],
        "ids": tf.cast(tf.sparse.to_dense(lists[schema.CAPTION_IDS]), tf.int32),
        "texts": lists[schema.CAPTION_TEXT],
    }


def records(split_files: SplitFiles, order_seed: int | None = None) -> tf.data.Dataset:
    """Parsed records of a split, its shards read side by side.

    Call arguments:
        order_seed: shuffles the order of the shards; None keeps it.
    """
    paths = list(split_files.paths)
    together = min(16, len(paths))
    if order_seed is not None:
        np.random.default_rng(order_seed).shuffle(paths)
    return (
        tf.data.Dataset.from_tensor_slices(paths)
        .interleave(
            tf.data.TFRecordDataset,
            cycle_length=together,
            num_parallel_calls=min(PARALLEL, together),
            deterministic=True,
        )
        .map(parse, num_parallel_calls=PARALLEL, deterministic=True)
    )


def in_order(split_files: SplitFiles, batch_size: int, size: int) -> tf.data.Dataset:
    """A split once, in the order on disk: batches of parsed records and what the model takes.

    Call arguments:
        size: side of the images, pixels.

    Returns: `parse`'s parts, batched and padded, `encoded` and `features` replaced by `inputs`:
    images float32 [B, size, size, 3] in 0..255, or features float16 [B, L, D] (`split_files.grid`).
    """
    key, load = loader(split_files, size)

    def one(parts):
        parts["inputs"] = load(parts[key][None])[0]
        del parts["encoded"], parts["features"]
        return parts

    return (
        records(split_files)
        .map(one, num_parallel_calls=PARALLEL, deterministic=True)
        .padded_batch(batch_size)
        .prefetch(2)
    )


def loader(split_files: SplitFiles, size: int) -> tuple[str, Callable[[tf.Tensor], tf.Tensor]]:
    """What the model takes of a record: (the part that holds it, how to read strings [B] of it).

    They become images float32 [B, size, size, 3] in 0..255, or features float16 [B, L, D].
    """
    if split_files.grid is None:
        return "encoded", lambda encoded: decode_all(encoded, size)
    height, width, depth = split_files.grid

    def features(encoded: tf.Tensor) -> tf.Tensor:
        values = tf.io.decode_raw(encoded, tf.float16, little_endian=True)
        return tf.reshape(values, [tf.shape(encoded)[0], height * width, depth])

    return "features", features


def decode_all(encoded: tf.Tensor, size: int) -> tf.Tensor:
    """Encoded images [B] -> float32 [B, size, size, 3] in 0..255."""
    return tf.map_fn(
        lambda image: decode(image, size),
        encoded,
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
    )
