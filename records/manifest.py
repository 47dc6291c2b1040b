"""What lies in a records directory: shards, their sidecars, and dataset_info.json, written last.

A directory without dataset_info.json is not a data set. Files are opened through an `open` callable
`(path) -> binary file`, so that Beam's file systems fit.
"""

import dataclasses
import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Iterable
from typing import BinaryIO

import xxhash

from cli.errors import UserError
from records.recorded_flags import FLAGS_VERSION, RecordedFlags
from records.schema import SCHEMA_VERSION, SPLITS
from records.vocabulary import Vocabulary

DATASET_INFO = "dataset_info.json"
VOCABULARY = "vocabulary.tsv"
REJECTED = "rejected.jsonl"

# Raised by hand whenever the writer's bytes change for the same input and flags.
WRITER_VERSION = 1

_REJECTED_KEYS = ("split", "image_id", "file_name", "caption_id", "reason")
Open = Callable[[str], BinaryIO]
_SHARD = re.compile(r"(train|val|test)-(\d{5})-of-(\d{5})\.tfrecord")
_CONTENTS = re.compile(r"(-?\d+:[0-9a-f]{16}( (?=.)|$))*")


def shard_name(split: str, index: int, count: int) -> str:
    """`train-00000-of-00004.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def sidecar_name(shard: str) -> str:
    """The name of a shard's sidecar, its commit mark."""
    return shard + ".json"


def parse_shard_name(name: str) -> tuple[str, int, int] | None:
    """(split, index, count) of a shard's name, None for any other name."""
    match = _SHARD.fullmatch(name)
    return (match[1], int(match[2]), int(match[3])) if match else None


def to_json(value: dict) -> bytes:
    """The one way JSON is written here: sorted, indented, UTF-8, a newline at the end."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def rejected_lines(rejected: Iterable[dict]) -> bytes:
    """The content of rejected.jsonl, its keys in one order whatever that of the dicts."""
    ordered = ({key: line[key] for key in _REJECTED_KEYS if key in line} for line in rejected)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in ordered).encode()


def fingerprint(value) -> str:
    """sha256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def content_hash(data: bytes) -> str:
    """What stands for a picture's bytes: their XXH3 of 64 bits, in 16 hex digits.

    It tells pictures apart, by accident none of a million are taken for one another (3 in 10^8); it
    is no proof against somebody who makes two alike. sha256 took a quarter of the job's time.
    """
    return xxhash.xxh3_64_hexdigest(data)


def checksum() -> xxhash.xxh3_128:
    """Sums up a shard's bytes, piece by piece, to what `xxh128sum` prints of the file.

    It finds damage, not forgery, as the CRCs inside the file do. sha256 took a third of the job's
    time.
    """
    return xxhash.xxh3_128()


@dataclasses.dataclass(frozen=True)
class Shard:
    """One finished shard, as its sidecar and dataset_info.json list it.

    Attributes:
        name: the file's name in the directory.
        listed: images dealt to the shard, before any was rejected.
        images: distinct images written.
        pairs: image-caption pairs written.
        records: records written: `images`, or more with --captions_per_record.
        bytes: size of the file.
        xxh128: `checksum` of the file, in 32 hex digits.
        contents: `id:hash` of each distinct image written, in that order, separated by spaces; the
            hash is `content_hash` of the image's bytes in the source, before any --image_size.
    """

    name: str
    listed: int
    images: int
    pairs: int
    records: int
    bytes: int
    xxh128: str
    contents: str

    def __post_init__(self):
        if not _CONTENTS.fullmatch(self.contents):
            raise ValueError(f"contents of {self.name} are not `id:hash id:hash ...`")

    def hashes(self) -> dict[int, str]:
        """Image id -> `content_hash` of its bytes in the source, in the order written."""
        entries = (entry.split(":") for entry in self.contents.split())
        return {int(image_id): content for image_id, content in entries}


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """A shard's commit mark: the shard is whole when its sidecar lies beside it.

    Attributes:
        shard: the finished shard.
        fingerprint: of everything that its bytes and its rejections come from.
        rejected: what was left out of it, each as a line of rejected.jsonl.
        device: what computed its features: "cpu" or a GPU's name; None without features.
    """

    shard: Shard
    fingerprint: str
    rejected: tuple[dict, ...]
    device: str | None = None

    def to_bytes(self) -> bytes:
        """The content of the sidecar's file."""
        return to_json(dataclasses.asdict(self))

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> "Sidecar":
        """The inverse of `to_bytes`.

        Raises:
            UserError: not a sidecar.
        """
        try:
            value = json.loads(content)
            shard, rejected = Shard(**value["shard"]), tuple(value["rejected"])
            return cls(shard, value["fingerprint"], rejected, value["device"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{where}: not a shard's sidecar ({error})") from None


@dataclasses.dataclass(frozen=True)
class Split:
    """The shards of one split and what was left out of it (`rejected`: reason -> count)."""

    shards: tuple[Shard, ...]
    rejected: dict[str, int]

    def total(self, field: str) -> int:
        """Sum of a field of `Shard` over the split: `split.total("images")`."""
        return sum(getattr(shard, field) for shard in self.shards)

    @property
    def contents(self) -> dict[int, str]:
        """`Shard.hashes` of all shards."""
        return {
            image_id: content
            for shard in self.shards
            for image_id, content in shard.hashes().items()
        }


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The manifest.

    Attributes:
        dataset: name of the source: coco2017, flickr8k, scenes ...
        ids: the space of its image ids: coco, flickr, or own, which is no other data set's.
        splits: split name -> `Split`.
        vocabulary_size: V, special words counted.
        vocabulary_fingerprint: of `Vocabulary.fingerprint`.
        encoder: None in image shards; else how the features were made: {"name", "weights" (their
            fingerprint), "input_size", "grid" [height, width, depth], "preprocessing" (its
            version), "dtype" (of the products), "device"}.
        preprocessing: what was done to the images: {"image_size": N}.
        seed: of the permutation that dealt images to shards.
        flags: the flags of the build.
        leaks: split -> how many of its images lie in train too; empty without --allow_leak.
    """

    dataset: str
    ids: str
    splits: dict[str, Split]
    vocabulary_size: int
    vocabulary_fingerprint: str
    preprocessing: dict
    seed: int
    flags: RecordedFlags
    leaks: dict[str, int] = dataclasses.field(default_factory=dict)
    encoder: dict | None = None
    schema_version: int = SCHEMA_VERSION
    writer_version: int = WRITER_VERSION
    flags_version: int = FLAGS_VERSION

    def contents(self, split: str) -> dict[int, str]:
        """`Split.contents` of a split; empty where there is no such split."""
        return self.splits[split].contents if split in self.splits else {}

    def to_bytes(self) -> bytes:
        """The content of dataset_info.json."""
        return to_json(dataclasses.asdict(self) | {"flags": dict(self.flags.every)})

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> "DatasetInfo":
        """The inverse of `to_bytes`.

        Raises:
            UserError: not a manifest, or one of another schema version or version of the flags.
        """
        try:
            value = json.loads(content)
            version = value["schema_version"]
            if version != SCHEMA_VERSION:
                raise UserError(
                    f"{where}: written with schema version {version}, this program reads"
                    f" {SCHEMA_VERSION}; build the records again"
                )
            # Early manifests do not say that theirs is version 1.
            flags_version = value.setdefault("flags_version", 1)
            value["flags"] = RecordedFlags.from_json(value["flags"], flags_version, where)
            value["splits"] = {
                name: Split(tuple(Shard(**s) for s in split["shards"]), split["rejected"])
                for name, split in sorted(
                    value["splits"].items(), key=lambda item: SPLITS.index(item[0])
                )
            }
            return cls(**value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{where}: not a data set's manifest ({error})") from None


def _open_local(path: str) -> BinaryIO:
    if "://" in path:
        raise UserError(
            f"{path}: only a build reads object stores; copy the records to a local disk first, as"
            " by `aws s3 sync`"
        )
    return open(path, "rb")


def read_info(records_dir: str, open_file: Open = _open_local) -> DatasetInfo:
    """The manifest of a records directory.

    Raises:
        UserError: the directory or its dataset_info.json is missing or damaged.
    """
    path = posixpath.join(records_dir, DATASET_INFO)
    try:
        with open_file(path) as file:
            return DatasetInfo.from_bytes(file.read(), path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{records_dir}: not a finished data set, {DATASET_INFO} is missing; build it with"
            " `python -m pipeline.build_records` (a build that was stopped goes on when its"
            " command is run again)"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_vocabulary(path: str, open_file: Open = _open_local) -> Vocabulary:
    """A vocabulary.tsv, or that of a records directory.

    Raises:
        UserError: missing, unreadable or damaged.
    """
    if not path.endswith(".tsv"):
        path = posixpath.join(path, VOCABULARY)
    try:
        with open_file(path) as file:
            return Vocabulary.from_tsv(file.read().decode(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no readable vocabulary ({error})") from None
