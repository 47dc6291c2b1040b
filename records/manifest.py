"""A records directory: what its files are called, and dataset_info.json, the manifest.

The manifest is written last: a directory without it is not a data set. Readers open files through a
callable `(path) -> binary file`, so that Beam's file systems fit.
"""

import dataclasses
import json
import posixpath
from collections.abc import Callable, Collection
from typing import Any, BinaryIO

from cli.errors import UserError
from records.canonical_json import to_json
from records.hashes import add_captions_hashes
from records.recorded_flags import FLAGS_VERSION, RecordedFlags
from records.schema import SCHEMA_VERSION, SPLITS, IdSpace
from records.shard_files import WRITER_VERSION, Shard
from records.vocabulary import SPECIAL, Vocabulary

DATASET_INFO = "dataset_info.json"
VOCABULARY = "vocabulary.tsv"
REJECTED = "rejected.jsonl"

# Versions whose manifest says the same as now, though their records are read otherwise.
READABLE_MANIFESTS = (4, SCHEMA_VERSION)

Open = Callable[[str], BinaryIO]


@dataclasses.dataclass(frozen=True)
class EncoderInfo:
    """The encoder that computed the stored features.

    Attributes:
        name: A key of `model.encoder.ENCODERS`.
        weights: Their fingerprint.
        input_size: Side of its square input, pixels.
        grid: Height, width and depth of the features.
        preprocessing: `model.encoder.PREPROCESSING_VERSION` that made its input.
        dtype: Precision of its matrix products, float32 or bfloat16.
        device: "cpu", or the names of GPUs; empty until the job ends.
    """

    name: str
    weights: str
    input_size: int
    grid: tuple[int, int, int]
    preprocessing: int
    dtype: str
    device: str = ""

    @property
    def fingerprinted(self) -> dict[str, Any]:
        """What a shard's fingerprint contains of it: everything but the device."""
        value = dataclasses.asdict(self)
        del value["device"]
        return value


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What the build did to the images.

    Attributes:
        image_size: Length of the shorter side, pixels; 0 for the original bytes.
    """

    image_size: int


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of the data set.

    Attributes:
        shards: Its shards, in order.
        rejected: How many images and captions were left out, by reason.
        formats: How many images come from files of each format.
        reencoded: How many images are stored in other bytes than their files hold.
    """

    shards: tuple[Shard, ...]
    rejected: dict[str, int]
    formats: dict[str, int] = dataclasses.field(default_factory=dict)
    reencoded: int = 0

    def total(self, field: str) -> int:
        """Return the sum of a field of `Shard` over the split: `split.total("images")`."""
        return sum(getattr(shard, field) for shard in self.shards)

    @property
    def unknown_share(self) -> float:
        """Share of the captions' words that the vocabulary lacks."""
        return self.total("unknown_words") / max(1, self.total("words"))

    @property
    def captions(self) -> str:
        """`Shard.captions` of all shards together; "" where one does not tell."""
        of_shards = [shard.captions for shard in self.shards]
        return add_captions_hashes(of_shards) if all(of_shards) else ""

    @property
    def content_hashes(self) -> dict[int, str]:
        """`Shard.content_hashes` of all shards together."""
        return {
            image_id: content_hash
            for shard in self.shards
            for image_id, content_hash in shard.content_hashes().items()
        }


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The manifest.

    Attributes:
        dataset: Name of the source: coco2017, flickr8k, scenes and so on.
        ids: The space of its image ids.
        splits: By name.
        vocabulary_size: V, special words included.
        vocabulary_fingerprint: `Vocabulary.fingerprint`.
        preprocessing: What was done to the images.
        seed: Of the permutation that dealt images to shards.
        flags: The flags of the build.
        leaks: Split -> how many of its images lie in train too; empty without --allow_leak.
        encoder: What computed the stored features; None in image shards.
        schema_version: `schema.SCHEMA_VERSION` of the build.
        writer_version: `shard_files.WRITER_VERSION` of the build.
        flags_version: `recorded_flags.FLAGS_VERSION` of the build.
    """

    dataset: str
    ids: IdSpace
    splits: dict[str, Split]
    vocabulary_size: int
    vocabulary_fingerprint: str
    preprocessing: Preprocessing
    seed: int
    flags: RecordedFlags
    leaks: dict[str, int] = dataclasses.field(default_factory=dict)
    encoder: EncoderInfo | None = None
    schema_version: int = SCHEMA_VERSION
    writer_version: int = WRITER_VERSION
    flags_version: int = FLAGS_VERSION

    @property
    def vocabulary_is_full(self) -> bool:
        """Whether --max_vocabulary may have left words out that are frequent enough."""
        full = self.vocabulary_size == self.flags.max_vocabulary + len(SPECIAL)
        return full and not self.flags.every.get("vocabulary")

    def content_hashes(self, split: str, max_images: int = 0) -> dict[int, str]:
        """Return `Split.content_hashes` of a split, or those of its first images.

        Args:
            split: The split; the result is empty when there is no such split.
            max_images: How many images at most, in the order of the shards; 0 for all.
        """
        hashes = self.splits[split].content_hashes if split in self.splits else {}
        return dict(list(hashes.items())[: max_images or None])

    def to_bytes(self) -> bytes:
        """Return the content of dataset_info.json."""
        return to_json(dataclasses.asdict(self) | {"flags": dict(self.flags.every)})

    @classmethod
    def from_bytes(
        cls, content: bytes, where: str, schema_versions: Collection[int] = (SCHEMA_VERSION,)
    ) -> "DatasetInfo":
        """Return the manifest that `to_bytes` wrote.

        Args:
            content: The file's content.
            where: The file's name, for the message.
            schema_versions: The versions of the schema to take.

        Raises:
            UserError: It is not a manifest, or one of another version of the schema or of the
                flags.
        """
        try:
            value = json.loads(content)
            version = value["schema_version"]
            if version not in schema_versions:
                raise UserError(
                    f"{where}: written with schema version {version}, this program reads"
                    f" {SCHEMA_VERSION}; build the records again"
                )
            return cls(**value | _parts_from_json(value, where))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{where}: not a data set's manifest ({error})") from None


def _parts_from_json(value: dict[str, Any], where: str) -> dict[str, Any]:
    encoder = value.get("encoder")
    flags_version = value.get("flags_version", 1)  # Early manifests do not say so.
    return {
        "flags": RecordedFlags.from_json(value["flags"], flags_version, where),
        "flags_version": flags_version,
        "splits": {
            name: Split(
                shards=tuple(Shard(**shard) for shard in split["shards"]),
                **{key: of_split for key, of_split in split.items() if key != "shards"},
            )
            for name, split in sorted(
                value["splits"].items(), key=lambda item: SPLITS.index(item[0])
            )
        },
        "preprocessing": Preprocessing(**value["preprocessing"]),
        "encoder": encoder and EncoderInfo(**encoder | {"grid": tuple(encoder["grid"])}),
    }


def _open_local(path: str) -> BinaryIO:
    if "://" in path:
        raise UserError(
            f"{path}: only a build reads object stores; copy the records to a local disk first, as"
            " by `aws s3 sync`"
        )
    return open(path, "rb")


def read_info(records_dir: str, open_file: Open = _open_local) -> DatasetInfo:
    """Return the manifest of a records directory.

    Args:
        records_dir: The directory.
        open_file: Opens a path for reading.

    Raises:
        UserError: The directory or its dataset_info.json is missing or damaged.
    """
    path = posixpath.join(records_dir, DATASET_INFO)
    try:
        with open_file(path) as file:
            return DatasetInfo.from_bytes(file.read(), path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{records_dir}: not a finished data set, {DATASET_INFO} is missing; build it with"
            " `python -m pipeline.build_records` (a build that was stopped continues when its"
            " command is run again)"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_vocabulary(path: str, open_file: Open = _open_local) -> Vocabulary:
    """Return the vocabulary of a records directory or of a run, or that in a file.

    Args:
        path: The directory, or a file whose name ends in .tsv.
        open_file: Opens a path for reading.

    Raises:
        UserError: It is missing, unreadable or damaged.
    """
    if not path.endswith(".tsv"):
        path = posixpath.join(path, VOCABULARY)
    try:
        with open_file(path) as file:
            return Vocabulary.from_tsv(file.read().decode(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no readable vocabulary ({error})") from None
