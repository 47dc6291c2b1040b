"""The batches that training learns from, epoch by epoch."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from artifacts.recipe import Recipe
from cli.progress import bar
from model.captioner import Captioner
from records.split_files import SplitFiles
from trainer.input import augment, order, reading
from trainer.input.augment import AugmentedImages
from trainer.input.feature_cache import FeatureCache
from trainer.input.image_cache import ImageCache, keeps_images
from trainer.input.order import Batch
from trainer.input.reading import InputLoader, InputSource


class TrainingBatches:
    """Epochs of batches: of features or images from memory, or as they are read and decoded.

    Args:
        recipe: The recipe: batch size, seed, shuffle window, augmentation, memory for images.
        train: The training split.
        captioner: Its encoder fills the cache; its spec gives the size of the images.
        cached: Whether the features are kept in memory. Filling the cache reads the split once.
        share: This worker's images of each batch, as for `order.epoch`.
        flips: Whether augmentation may mirror images.

    Attributes:
        steps_per_epoch: Batches in an epoch.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: SplitFiles,
        captioner: Captioner,
        cached: bool,
        share: slice = order.ALL_IMAGES,
        flips: bool = False,
    ) -> None:
        self._recipe, self._train, self._share, self._flips = recipe, train, share, flips
        self._size = captioner.encoder.spec.size
        self.steps_per_epoch = recipe.steps_per_epoch(train.records)
        cached = cached and not recipe.augment
        self._cache = FeatureCache.fill(train, captioner) if cached else None
        if recipe.augment:
            loader = InputLoader(augment.uncropped_side(self._size), None, tf.uint8)
        else:
            loader = InputLoader(self._size, train.grid)
        self._source: InputSource = loader
        if not cached and keeps_images(recipe, loader, train):
            self._source = ImageCache.fill(train, loader)

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, whose order is a function of (seed, epoch).

        Args:
            number: The epoch, from 0.
            skip: Batches at its start that are left out, undecoded.

        Raises:
            UserError: A record cannot be read.
        """
        seed_sequence = np.random.SeedSequence([self._recipe.seed, number])
        seed = int(seed_sequence.generate_state(1)[0] >> 1)
        elements, load, window = self._elements(seed)
        batches = order.epoch(
            elements,
            load,
            window=window,
            batch_size=self._recipe.batch_size,
            seed=seed,
            skip=skip,
            share=self._share,
        )
        return reading.iterate(batches, self._train)

    def texts(self) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the image id and the captions as annotated of every record, with a progress bar.

        Raises:
            UserError: A record cannot be read.
        """
        if self._cache:
            split = self._cache.split
            for image_id, texts in zip(split.image_ids, split.texts, strict=True):
                yield int(image_id), list(texts)
            return
        records = reading.parsed_records(self._train)
        captions = records.map(lambda record: (record.image_id, record.texts))
        with bar(self._train.records, "reading captions", "img") as progress:
            for image_id, texts in reading.iterate(captions, self._train):
                yield int(image_id), list(texts.numpy())
                progress.update()

    def _elements(self, seed: int) -> tuple[tf.data.Dataset, Callable[[Any], tf.Tensor], int]:
        """Return what `order.epoch` takes: elements, how to load them, the shuffle window."""
        records = self._train.records
        if self._cache:
            return self._cache.elements(), self._cache.load, records
        records_in_window = self._recipe.shuffle_mb * 1_000_000 * records // self._train.bytes
        window = min(records, max(1, records_in_window))
        # A window over the whole split needs no shuffled shards: the order is the cache's.
        shard_seed = seed if window < records else None
        source = self._source
        if self._recipe.augment:
            source = AugmentedImages(source, self._size, seed, self._flips)
        elements = reading.parsed_records(self._train, shard_seed).map(
            lambda record: (source.stored(record), record.ids, record.image_id)
        )
        return elements, source.load, window
