"""The configuration that travels with the job to every worker."""

import dataclasses
import functools
import math
from typing import Literal

from cli.errors import UsageError
from pipeline import datasets
from pipeline.datasets.options import SourceOptions
from pipeline.datasets.source import DataSource
from records.manifest import EncoderInfo
from records.recorded_flags import RecordedFlags

# Where the job runs: on this machine, on a Dask cluster, on Dataflow, or by another runner of Beam.
Engine = Literal["local", "dask", "dataflow", "beam"]
# About 80 MB of COCO. From 200 images on there are at least four shards, so that readers can
# interleave them.
_IMAGES_PER_SHARD = 500


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """Which features the job computes.

    Attributes:
        weights: What --encoder_weights names: `imagenet`, `random` or a file.
        info: The encoder as dataset_info.json describes it, without the device.
    """

    weights: str
    info: EncoderInfo


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a job needs to know; `pipeline.prepare.prepared` makes it.

    The fields up to `seed` are flags (`pipeline.build_flags`) with all defaults filled in.

    Attributes:
        source_options: What the user says about the source.
        splits: The splits that the source has.
        features: The features to compute; None for none.
        beam_args: Beam's own options, checked.
        engine: Where the job runs.
        flags: All flags, as dataset_info.json keeps them.
    """

    dataset: str
    data_dir: str
    output_dir: str
    vocabulary: str | None
    train_shards: int
    val_shards: int
    min_word_count: int
    max_vocabulary: int
    max_caption_words: int
    captions_per_record: int
    image_size: int
    store: str
    verify: str
    max_rejected_fraction: float
    allow_leak: bool
    seed: int
    source_options: SourceOptions
    splits: tuple[str, ...]
    features: FeatureConfig | None
    beam_args: tuple[str, ...]
    engine: Engine
    flags: RecordedFlags

    @functools.cached_property
    def source(self) -> DataSource:
        """The source of the images. It may keep its place in a file between two images."""
        return datasets.source(self.dataset, self.source_options)

    @property
    def decodes_images(self) -> bool:
        """Whether every image is decoded to check it."""
        # TensorFlow fills damaged parts with grey, and the features would not show it.
        return self.verify == "decode" or self.features is not None

    def shard_count(self, split: str, n_images: int) -> int:
        """Return how many shards a split of `n_images` gets.

        Raises:
            UsageError: The flags ask for more shards than there are images.
        """
        flag = "train_shards" if split == "train" else "val_shards"
        asked: int = getattr(self, flag)
        if asked > n_images:
            raise UsageError(f"--{flag}={asked}: the split {split} has {n_images} images only")
        few = min(4, math.ceil(n_images / 50))
        return asked or max(few, math.ceil(n_images / _IMAGES_PER_SHARD))
