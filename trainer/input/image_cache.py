"""The decoded images of a split in memory, for an encoder that runs in every epoch.

Only decoding is saved: records are read in every epoch as they are without the cache, and so their
order, and every pixel, is the same with it.
"""

import math

import numpy as np
import tensorflow as tf

from artifacts.recipe import Recipe
from cli.progress import bar
from records.split_files import SplitFiles
from trainer.input import reading
from trainer.input.reading import PARALLEL_CALLS, InputLoader, Record

_BATCH = 32  # images that are decoded together


class ImageCache:
    """All images of a split as the encoder takes them, each once.

    Args:
        image_ids: [images] int64.
        pixels: [images, size, size, 3], in the order of the ids.

    Attributes:
        bytes: The memory that the pixels take.
    """

    def __init__(self, image_ids: np.ndarray, pixels: np.ndarray) -> None:
        self.bytes = pixels.nbytes
        self._order = np.argsort(image_ids)
        self._sorted_ids, self._pixels = image_ids[self._order], pixels

    @classmethod
    def fill(cls, split_files: SplitFiles, loader: InputLoader) -> "ImageCache":
        """Decode a split once, with a progress bar.

        Args:
            split_files: The split.
            loader: Decodes its images.

        Raises:
            UserError: A record cannot be read.
        """
        shape = (split_files.images, loader.size, loader.size, 3)
        # One allocation: concatenating batches would hold the images twice.
        pixels = np.empty(shape, loader.dtype.as_numpy_dtype)
        rows: dict[int, int] = {}
        with bar(split_files.images, f"{split_files.split} images", "img") as progress:
            for image_ids, images in reading.iterate(_decoded(split_files, loader), split_files):
                for image_id, image in zip(image_ids.numpy().tolist(), images.numpy(), strict=True):
                    if image_id not in rows:  # in strict pairs an image comes once for each caption
                        rows[image_id] = len(rows)
                        pixels[rows[image_id]] = image
                        progress.update()
        return cls(np.array(list(rows), np.int64), pixels)

    def stored(self, record: Record) -> tf.Tensor:
        """Return the key of a record's image: its id."""
        return record.image_id

    def load(self, image_ids: tf.Tensor) -> tf.Tensor:
        """Look up images.

        Args:
            image_ids: [B] int64.

        Returns:
            [B, size, size, 3], as the loader decoded them.
        """
        # A numpy function and not a constant, because a graph holds 2 GB at most.
        images = tf.numpy_function(self._images_of, [image_ids], self._pixels.dtype, stateful=False)
        images.set_shape([None, *self._pixels.shape[1:]])
        return images

    def _images_of(self, image_ids: np.ndarray) -> np.ndarray:
        return self._pixels[self._order[np.searchsorted(self._sorted_ids, image_ids)]]


def _decoded(split_files: SplitFiles, loader: InputLoader) -> tf.data.Dataset:
    """Return a data set of (image ids [B], images [B, size, size, 3]), in the order on disk."""
    return (
        reading.parsed_records(split_files)
        .map(lambda record: (record.image_id, loader.stored(record)))
        .batch(_BATCH)
        .map(
            lambda image_ids, stored: (image_ids, loader.load(stored)),
            num_parallel_calls=PARALLEL_CALLS,
            deterministic=True,
        )
        .prefetch(2)
    )


def keeps_images(recipe: Recipe, loader: InputLoader, train: SplitFiles) -> bool:
    """Tell whether the decoded images are kept in memory; print a line when they do not fit.

    They are not kept for an encoder that is frozen and sees the same images in every epoch: its
    features take less.

    Args:
        recipe: The recipe.
        loader: Decodes the images.
        train: The training split.
    """
    if loader.grid or not (recipe.encoder_trainable or recipe.augment):
        return False
    needed = train.images * loader.size**2 * 3 * loader.dtype.size / 1e6
    if needed <= recipe.cache_memory_mb:
        return True
    print(
        f"the decoded training images take {math.ceil(needed):,} MB, more than --cache_memory_mb="
        f"{recipe.cache_memory_mb:,}: they are decoded anew in every epoch"
    )
    return False
