"""The flags of `build_records`: name, type, default, help and range of each, in one class."""

import dataclasses

from cli.flags import flag
from pipeline import datasets
from pipeline.datasets.options import SourceOptions
from scenes.world import DEFAULT_IMAGES, DEFAULT_SEED, MIN_IMAGES

PRECISIONS = ("float32", "bfloat16")
STORES = ("image", "features", "both")
CHECKS = ("header", "decode")


@dataclasses.dataclass(frozen=True)
class BuildFlags(SourceOptions):
    """What the user asks for. Every field is a flag, and so are the options of the source.

    None stands for a default that depends on other flags or on the machine:
    `pipeline.prepare` fills it in.
    """

    dry_run: bool = flag(
        False,
        "With --runner=DataflowRunner: check the flags and Beam's options, write the job's request"
        " to --dataflow_job_file (by default dataflow_job.json), and stop. No network is used.",
    )

    # The source.
    dataset: str | None = flag(
        None,
        f"Data set to build, one of {', '.join(datasets.NAMES)}. By default what --data_dir looks"
        " like; without --data_dir coco2017 if it lies in data/coco2017, else scenes.",
    )
    data_dir: str | None = flag(
        None,
        "Folder of the source, or its list. By default data/<dataset>; for tfds:NAME the folder of"
        " TFDS.",
    )
    download: bool = flag(
        False,
        "First download what --data_dir lacks of coco2017 (the default) or coco2014, up to 20 GB.",
    )
    download_url: str | None = flag(
        None,
        "Address of a mirror to download from. By default the address where the data set is"
        " published.",
    )
    scenes_images: int = flag(
        DEFAULT_IMAGES, f"Number of scenes to draw, at least {MIN_IMAGES}.", at_least=1
    )
    scenes_seed: int = flag(DEFAULT_SEED, "Seed of the drawn scenes; another seed draws others.")

    # The records.
    output_dir: str | None = flag(
        None, "Folder for the records. By default data/records/<dataset>."
    )
    language: str | None = flag(
        None,
        "Language of the captions, a tag such as en, zh or pt-BR. The evaluation scores them by it;"
        " records are the same with any. By default it is not recorded.",
    )
    vocabulary: str | None = flag(
        None,
        "A vocabulary.tsv, or records that have one, to use unchanged. By default the vocabulary"
        " is built from the train split.",
    )
    train_shards: int = flag(
        0,
        "Shards of the train split, 0 to 99999; 0 chooses by the number of images.",
        at_least=0,
        at_most=99_999,
    )
    val_shards: int = flag(
        0,
        "Shards of val, and of test, 0 to 99999; 0 chooses by the number of images.",
        at_least=0,
        at_most=99_999,
    )
    min_word_count: int = flag(
        5,
        "Times that a word must occur in the train split, at least 1; rarer words become <unk>.",
        at_least=1,
    )
    max_vocabulary: int = flag(
        0,
        "Most words of the vocabulary, beside the 4 special ones: the most frequent of the train"
        " split are kept, rarer ones become <unk>. 0: no limit.",
        at_least=0,
    )
    max_caption_words: int = flag(
        21, "Most words of a train caption; longer ones are left out. 0: no limit.", at_least=0
    )
    captions_per_record: int = flag(
        0,
        "Captions in a record: 0 for all of an image, 1 for strict pairs.",
        at_least=0,
        at_most=1,
    )
    image_size: int = flag(
        0,
        "Pixels of the shorter side after resizing, up to 8192; 0 keeps the original bytes.",
        at_least=0,
        at_most=8192,
    )
    verify: str = flag(
        "header",
        "How far images are checked: `header` finds files that are cut or no image, `decode` finds"
        " damaged pixels too.",
        choices=CHECKS,
    )
    max_rejected_fraction: float = flag(
        0.01,
        "Fraction of a split's images that may be rejected, 0 to 1; with more the build fails.",
        at_least=0,
        at_most=1,
    )
    allow_leak: bool = flag(
        False,
        "Build although images of val or test are in train too; dataset_info.json counts them.",
    )
    seed: int = flag(0, "Seed of the permutation that deals images to shards.")

    # Features.
    features: str | None = flag(None, "Encoder whose features to compute, such as nasnet_large.")
    store: str | None = flag(
        None,
        "What records hold. By default `features` with --features, else `image`.",
        choices=STORES,
    )
    feature_dtype: str | None = flag(
        None,
        "Precision of the encoder's matrix products. By default bfloat16 where the CPU has it.",
        choices=PRECISIONS,
    )
    encoder_weights: str | None = flag(
        None,
        "Weights of the encoder: `imagenet` (the default), `random`, or a .weights.h5, .h5 or"
        " .keras file of the network, with or without its top.",
    )

    @property
    def source_options(self) -> SourceOptions:
        """The flags that the source reads."""
        return SourceOptions.from_flags(dataclasses.asdict(self))
