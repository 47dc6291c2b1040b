"""What a run reads: training batches, and the split that scores it."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from artifacts.recipe import Recipe
from model.captioner import Captioner
from records.manifest import DatasetInfo
from records.split_files import SplitFiles, open_split
from records.vocabulary import Vocabulary
from trainer.input import order
from trainer.input import reading as records_input
from trainer.input.feature_cache import FeatureCache, cache_bytes, stream
from trainer.input.order import Batch
from trainer.samples import Samples, first_pictures
from trainer.validation import Validation, Validator

# (epoch, batches of it to skip) -> the rest of its batches
Batches = Callable[[int, int], Iterable[Batch]]


def fit_in_memory(config: Recipe, captioner: Captioner, train: SplitFiles) -> bool:
    """Whether the frozen features of the training split are kept; says so when they do not fit."""
    if config.encoder_trainable:
        return False
    needed = cache_bytes(train, captioner) / 1e6
    if needed <= config.cache_memory_mb:
        return True
    print(
        f"the training features take {needed:,.0f} MB, more than --cache_memory_mb="
        f"{config.cache_memory_mb:,}: "
        + ("they are read" if train.grid else "the encoder runs")
        + " anew in every epoch"
    )
    return False


def training_batches(
    config: Recipe,
    train: SplitFiles,
    captioner: Captioner,
    cached: bool,
    share: tuple[int, int] = (0, 1),
) -> Batches:
    """Epochs of batches: of features from memory, or of images as they are read and decoded.

    Call arguments:
        share: this worker's of each batch, as for `order.epoch`.
    """
    window = min(
        train.records, max(1, config.shuffle_mb * 1_000_000 * train.records // train.bytes)
    )
    if cached:
        cache = FeatureCache.fill(train, captioner)
        window, load = train.records, cache.load
    else:
        key, load = records_input.loader(train, captioner.encoder.spec.size)

    def batches(epoch: int, skip: int) -> Iterator[Batch]:
        seed = int(np.random.SeedSequence([config.seed, epoch]).generate_state(1)[0] >> 1)
        if cached:
            elements = cache.elements()
        else:
            # A window over the whole split needs no shuffled shards: the order is the cache's.
            order_seed = seed if window < train.records else None
            parsed = records_input.records(train, order_seed)
            elements = parsed.map(lambda parts: (parts[key], parts["ids"], parts["image_id"]))
        found = order.epoch(
            elements,
            load,
            window=window,
            batch_size=config.batch_size,
            seed=seed,
            skip=skip,
            share=share,
        )
        return records_input.readable(found, train)

    return batches


def validation(
    config: Recipe,
    info: DatasetInfo,
    captioner: Captioner,
    vocabulary: Vocabulary,
    cached: bool,
    grid: tuple[int, int, int] | None,
) -> Callable[[], Validation] | None:
    """What scores the model on the val split after each epoch; None when there is no such split.

    Call arguments:
        cached: whether features are kept in memory. grid: of stored features, None for images.
    """
    if not _has_val(info):
        print("the records have no val split: the last weights are taken for the best")
        return None
    _, val = open_split(config.records_dir, "val")
    val = dataclasses.replace(val, grid=grid)
    validator = Validator(captioner, vocabulary)
    if not cached:
        return lambda: validator(stream(val, captioner, "validating"))
    cache = FeatureCache.fill(val, captioner)
    return lambda: validator(cache.batches(config.batch_size))


def validation_samples(config: Recipe, info: DatasetInfo) -> Samples | None:
    """What shows captions of the val split; None when there is no such split."""
    if not _has_val(info):
        return None
    _, val = open_split(config.records_dir, "val")
    return Samples(config.run_dir, first_pictures(val))


def _has_val(info: DatasetInfo) -> bool:
    return "val" in info.splits and info.splits["val"].total("records") > 0
