"""The flags of `build_records`: their defaults, their help, their values as one frozen object."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags

from pipeline import datasets
from scenes.world import DEFAULT_IMAGES, DEFAULT_SEED, MIN_IMAGES

PRECISIONS = ("float32", "bfloat16")
STORES = ("image", "features", "both")
CHECKS = ("header", "decode")


@dataclasses.dataclass(frozen=True)
class BuildFlags:
    """What the user asks for; `define_flags` says what each flag means.

    None stands for a default that depends on other flags or on the machine:
    `pipeline.prepare` fills it in.
    """

    dataset: str | None = None
    data_dir: str | None = None
    output_dir: str | None = None
    vocabulary: str | None = None
    train_shards: int = 0
    val_shards: int = 0
    min_word_count: int = 5
    max_caption_words: int = 21
    captions_per_record: int = 0
    image_size: int = 0
    features: str | None = None
    store: str | None = None
    feature_dtype: str | None = None
    encoder_weights: str | None = None
    verify: str = "header"
    max_rejected_fraction: float = 0.01
    allow_leak: bool = False
    seed: int = 0
    scenes_images: int = DEFAULT_IMAGES
    scenes_seed: int = DEFAULT_SEED
    download: bool = False
    download_url: str | None = None

    @classmethod
    def from_absl(cls, values: flags.FlagValues) -> "BuildFlags":
        """Return the values of parsed flags that `define_flags` has declared."""
        return cls(**{field.name: values[field.name].value for field in dataclasses.fields(cls)})


def define_flags(values: flags.FlagValues) -> None:
    """Declare every field of `BuildFlags` as a flag in `values`."""
    _define_source_flags(values)
    _define_record_flags(values)
    _define_feature_flags(values)


def _define_source_flags(values: flags.FlagValues) -> None:
    _define_text(
        values,
        "dataset",
        f"Data set to build, one of {', '.join(datasets.NAMES)}. By default coco2017 if it lies in"
        " --data_dir, else scenes.",
    )
    _define_text(
        values,
        "data_dir",
        "Folder of the source. By default data/<dataset>; for tfds:NAME the folder of TFDS.",
    )
    _define_bool(
        values,
        "download",
        "First download what --data_dir lacks of coco2017 (the default) or coco2014, up to 20 GB.",
    )
    _define_text(
        values,
        "download_url",
        "Address of a mirror to download from. By default the address where the data set is"
        " published.",
    )
    _define_integer(
        values, "scenes_images", f"Number of scenes to draw, at least {MIN_IMAGES}.", lower=1
    )
    _define_integer(values, "scenes_seed", "Seed of the drawn scenes; another seed draws others.")


def _define_record_flags(values: flags.FlagValues) -> None:
    _define_text(values, "output_dir", "Folder for the records. By default data/records/<dataset>.")
    _define_text(
        values,
        "vocabulary",
        "A vocabulary.tsv, or records that have one, to use unchanged. By default the vocabulary"
        " is built from the train split.",
    )
    by_size = "0 to 99999; 0 chooses by the number of images"
    _define_integer(values, "train_shards", f"Shards of the train split, {by_size}.", 0, 99_999)
    _define_integer(values, "val_shards", f"Shards of val, and of test, {by_size}.", 0, 99_999)
    _define_integer(
        values,
        "min_word_count",
        "Times that a word must occur in the train split, at least 1; rarer words become <unk>.",
        lower=1,
    )
    _define_integer(
        values,
        "max_caption_words",
        "Most words of a train caption; longer ones are left out. 0: no limit.",
        lower=0,
    )
    _define_integer(
        values,
        "captions_per_record",
        "Captions in a record: 0 for all of an image, 1 for strict pairs.",
        0,
        1,
    )
    _define_integer(
        values,
        "image_size",
        "Pixels of the shorter side after resizing, up to 8192; 0 keeps the original bytes.",
        0,
        8192,
    )
    _define_choice(
        values,
        "verify",
        CHECKS,
        "How far images are checked: `header` finds files that are cut or no JPEG, `decode` finds"
        " damaged pixels too.",
    )
    flags.DEFINE_float(
        "max_rejected_fraction",
        BuildFlags.max_rejected_fraction,
        "Fraction of a split's images that may be rejected, 0 to 1; with more the build fails.",
        0,
        1,
        flag_values=values,
    )
    _define_bool(
        values,
        "allow_leak",
        "Build although images of val or test are in train too; dataset_info.json counts them.",
    )
    _define_integer(values, "seed", "Seed of the permutation that deals images to shards.")


def _define_feature_flags(values: flags.FlagValues) -> None:
    _define_text(values, "features", "Encoder whose features to compute, such as nasnet_large.")
    _define_choice(
        values,
        "store",
        STORES,
        "What records hold. By default `features` with --features, else `image`.",
    )
    _define_choice(
        values,
        "feature_dtype",
        PRECISIONS,
        "Precision of the encoder's matrix products. By default bfloat16 where the CPU has it.",
    )
    _define_text(
        values,
        "encoder_weights",
        "Weights of the encoder: `imagenet` (the default), `random` or a .weights.h5 file.",
    )


def _default(name: str) -> Any:
    return getattr(BuildFlags, name)


def _define_text(values: flags.FlagValues, name: str, text: str) -> None:
    flags.DEFINE_string(name, _default(name), text, flag_values=values)


def _define_bool(values: flags.FlagValues, name: str, text: str) -> None:
    flags.DEFINE_bool(name, _default(name), text, flag_values=values)


def _define_choice(values: flags.FlagValues, name: str, choices: Sequence[str], text: str) -> None:
    flags.DEFINE_enum(name, _default(name), choices, text, flag_values=values)


def _define_integer(
    values: flags.FlagValues,
    name: str,
    text: str,
    lower: int | None = None,
    upper: int | None = None,
) -> None:
    flags.DEFINE_integer(name, _default(name), text, lower, upper, flag_values=values)
