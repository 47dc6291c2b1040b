"""The flags of `build_records`, read once into one frozen value that travels with the job."""

import dataclasses
import functools
import math
import posixpath
import re
from collections.abc import Callable

from absl import flags

from cli.errors import UserError
from pipeline import datasets
from pipeline.datasets import coco, tfds
from pipeline.download import archives
from pipeline.engines import beam_options
from pipeline.storage import files
from records import manifest
from scenes.world import DEFAULT_IMAGES, DEFAULT_SEED

PRECISIONS = ("float32", "bfloat16")
DEFAULT_COCO = "data/coco2017"
# About 80 MB of COCO a shard; from 200 images on at least four, so that readers can interleave.
_IMAGES_PER_SHARD = 500


@dataclasses.dataclass(frozen=True)
class Config:
    """What a build was asked for; every field but the last four is a flag.

    Attributes:
        encoder: what the manifest tells of the features, by `features.with_encoder`; or None.
        splits: the splits that the source has.
        beam_args: Beam's own options, checked.
        engine: where it runs: "local", "dask", or "beam" for any other runner of Beam.
    """

    dataset: str
    data_dir: str
    output_dir: str
    vocabulary: str | None
    train_shards: int
    val_shards: int
    min_word_count: int
    max_caption_words: int
    captions_per_record: int
    image_size: int
    features: str | None
    store: str | None
    feature_dtype: str | None
    encoder_weights: str | None
    verify: str
    max_rejected_fraction: float
    allow_leak: bool
    seed: int
    scenes_images: int
    scenes_seed: int
    download: bool = False
    download_url: str | None = None
    encoder: dict | None = None
    splits: tuple[str, ...] = ()
    beam_args: tuple[str, ...] = ()
    engine: str = "local"

    @property
    def flags(self) -> dict:
        """Flag name -> value, as the manifest keeps them: not how the source came to lie there."""
        value = dataclasses.asdict(self)
        for name in ("encoder", "splits", "beam_args", "engine", "download", "download_url"):
            del value[name]
        return value

    @classmethod
    def from_manifest(cls, flags: dict, where: str) -> "Config":
        """The inverse of `flags`.

        Raises:
            UserError: another version of this program has built `where`, with other flags.
        """
        try:
            return cls(**flags)
        except TypeError as error:
            raise UserError(
                f"{where}: built with other flags than there are now ({error}); build it again"
            ) from None

    def shards(self, split: str, n_images: int) -> int:
        """How many shards a split of `n_images` gets."""
        asked = self.train_shards if split == "train" else self.val_shards
        few = min(4, math.ceil(n_images / 50))
        return asked or max(few, math.ceil(n_images / _IMAGES_PER_SHARD))


def define_flags(values: flags.FlagValues) -> None:
    """Declare the flags of Config with absl."""
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    number = functools.partial(flags.DEFINE_integer, flag_values=values)
    choice = functools.partial(flags.DEFINE_enum, flag_values=values)
    text(
        "dataset",
        None,
        f"What to build, one of {', '.join(datasets.NAMES)}; by default coco2017 if it lies under"
        " --data_dir, else scenes.",
    )
    text(
        "data_dir",
        None,
        "Where the source lies; by default data/<dataset>, for tfds:NAME TFDS's own folder.",
    )
    text("output_dir", None, "Where the records go; by default data/records/<dataset>.")
    text("vocabulary", None, "A vocabulary.tsv, or records that have one, to use as it is.")
    number("train_shards", 0, "Shards of the train split; 0: by the number of images.", 0, 99_999)
    number("val_shards", 0, "Shards of val, and of test; 0: by the number of images.", 0, 99_999)
    number("min_word_count", 5, "Rarer words of the train split become <unk>.", 1)
    number("max_caption_words", 21, "Longer train captions are left out; 0: none are.", 0)
    number("captions_per_record", 0, "0: all captions of an image; 1: strict pairs.", 0, 1)
    number("image_size", 0, "0: the original bytes; else pixels of the shorter side.", 0, 8192)
    text("features", None, "Compute the features of this encoder, such as nasnet_large.")
    choice(
        "store",
        None,
        ("image", "features", "both"),
        "What records hold; by default features with --features, else the image.",
    )
    choice(
        "feature_dtype",
        None,
        PRECISIONS,
        "Of the encoder's matrix products; by default bfloat16 where the CPU has it.",
    )
    text("encoder_weights", None, "`imagenet` (default), `random` or a .weights.h5 file.")
    choice(
        "verify",
        "header",
        ("header", "decode"),
        "How far images are checked: cut files and other formats, or the pixels too.",
    )
    flags.DEFINE_float(
        "max_rejected_fraction",
        0.01,
        "Of a split's images; when more are rejected, the build fails.",
        0,
        1,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "allow_leak",
        False,
        "Build although images of val or test are in train too; dataset_info.json counts them.",
        flag_values=values,
    )
    number("seed", 0, "Of the permutation that deals images to shards.")
    number("scenes_images", DEFAULT_IMAGES, "How many scenes to draw.", 1)
    number("scenes_seed", DEFAULT_SEED, "Which scenes to draw.")
    flags.DEFINE_boolean(
        "download",
        False,
        "First fetch what --data_dir lacks of coco2017 (the default) or coco2014: 20 GB.",
        flag_values=values,
    )
    text("download_url", None, "A mirror to download from; by default where it is published.")


def from_flags(values: flags.FlagValues, rest: list[str]) -> tuple[Config, list[str]]:
    """(the checked config, what the user should know about it).

    Call arguments:
        values: parsed flags, as `define_flags` declares them.
        rest: the other arguments: Beam's options.

    Raises:
        UserError: a source is missing; UsageError: an option is wrong or nobody's, or no data set
            is called that.
    """
    beam_args, engine = beam_options.checked(rest)
    wanted = values.dataset or ("coco2017" if values.download else None)
    dataset, data_dir, why = _choose(wanted, values.data_dir)
    archives.check_usage(values.download, dataset, data_dir, values.download_url)
    # Workers elsewhere have other working directories.
    place = files.absolute if engine != "local" else str
    names = [f.name for f in dataclasses.fields(Config) if f.name in values]
    config = Config(
        **{name: values[name].value for name in names}
        | {
            "dataset": dataset,
            "data_dir": place(data_dir),
            "output_dir": place(values.output_dir or _default_output_dir(dataset)),
            "vocabulary": values.vocabulary and place(values.vocabulary),
            "encoder_weights": _weights(values.encoder_weights, place),
        },
        beam_args=beam_args,
        engine=engine,
    )
    if config.vocabulary:
        manifest.read_vocabulary(config.vocabulary, files.open_file)
    return config, [f"building {dataset} from {config.data_dir} into {config.output_dir}{why}"]


def with_splits(config: Config) -> tuple[Config, list[str]]:
    """(`config` with the splits that its source has, remarks on those it has not)."""
    source = datasets.source(config.dataset)
    found, remarks = source.splits(config.data_dir, need_train=not config.vocabulary)
    return dataclasses.replace(config, splits=tuple(found)), remarks


def _choose(dataset: str | None, data_dir: str | None) -> tuple[str, str, str]:
    """(data set, its folder, why it was chosen): COCO where it lies, else the scenes."""
    if dataset:
        datasets.source(dataset)
        return dataset, data_dir or _default_data_dir(dataset), ""
    coco_dir = data_dir or DEFAULT_COCO
    if coco.lies_under(coco_dir):
        why = ": COCO 2017 lies there, --dataset=scenes builds the embedded scenes instead"
        return "coco2017", coco_dir, why
    if data_dir:
        raise UserError(
            f"{data_dir}: no COCO 2017 lies there (annotations/captions_train2017.json is missing);"
            " --download fetches it, another --dataset reads something else, without --data_dir the"
            " embedded scenes are built"
        )
    why = (
        f": no COCO 2017 lies under {DEFAULT_COCO}; --download fetches it there, or give --data_dir"
    )
    return "scenes", "data/scenes", why


def _default_data_dir(dataset: str) -> str:
    if dataset.startswith(datasets.TFDS):
        return tfds.default_data_dir()
    return posixpath.join("data", dataset)


def _default_output_dir(dataset: str) -> str:
    # tfds:coco_captions/2014:1.1.0 is one folder's name.
    return posixpath.join("data/records", re.sub("[:/]", "_", dataset))


def _weights(weights: str | None, place: Callable[[str], str]) -> str | None:
    return place(weights) if weights and weights.endswith(".h5") else weights
