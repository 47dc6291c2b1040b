"""The two files of a shard: its TFRecord file, and the sidecar that marks it as finished."""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable

from cli.errors import UserError
from records.canonical_json import to_json
from records.rejections import Rejection

# Raised by hand whenever the writer's bytes change for the same input and flags.
WRITER_VERSION = 2

_NAME = re.compile(r"(train|val|test)-(\d{5})-of-(\d{5})\.tfrecord")
_CONTENTS = re.compile(r"(-?\d+:[0-9a-f]{16}( (?=.)|$))*")


def shard_name(split: str, index: int, count: int) -> str:
    """Return a shard's file name, such as `train-00000-of-00004.tfrecord`.

    Args:
        split: train, val or test.
        index: The shard's place in the split, from 0.
        count: Shards in the split.
    """
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def sidecar_name(shard: str) -> str:
    """Return the name (or path) of the sidecar of the shard with this name (or path)."""
    return shard + ".json"


def parse_shard_name(name: str) -> tuple[str, int, int] | None:
    """Return (split, index, count) of a shard's file name; None for any other name."""
    match = _NAME.fullmatch(name)
    return (match[1], int(match[2]), int(match[3])) if match else None


def split_of(name: str) -> str:
    """Return the split of a shard's file name; raise ValueError for any other name."""
    parsed = parse_shard_name(name)
    if parsed is None:
        raise ValueError(f"{name}: not the name of a shard")
    return parsed[0]


@dataclasses.dataclass(frozen=True)
class Shard:
    """One finished shard, as its sidecar and dataset_info.json list it.

    Attributes:
        name: The file's name in the directory.
        listed: Images dealt to the shard, before any was rejected.
        images: Distinct images written.
        pairs: Image-caption pairs written.
        records: Records written: `images`, or more with --captions_per_record.
        bytes: Size of the file.
        xxh128: `hashes.checksum` of the file, in 32 hex digits.
        contents: `id:hash` of each distinct image written, in that order, separated by spaces. The
            hash is `hashes.content_hash` of its bytes in the source, before any --image_size.
        formats: How many of the images come from a file of each format, such as JPEG.
        reencoded: How many of the images are stored in other bytes than their files hold.
        words: Words of the captions written.
        unknown_words: Those of them that the vocabulary lacks.
        captions: `hashes.captions_hash` of all its captions; "" in shards of earlier versions.
        longest_caption: Words of the longest of these captions; 0 in shards of earlier versions.
    """

    name: str
    listed: int
    images: int
    pairs: int
    records: int
    bytes: int
    xxh128: str
    contents: str
    formats: dict[str, int] = dataclasses.field(default_factory=dict)
    reencoded: int = 0
    words: int = 0
    unknown_words: int = 0
    captions: str = ""
    longest_caption: int = 0

    def __post_init__(self) -> None:
        """Refuse contents that `content_hashes` could not take apart.

        Raises:
            ValueError: They are not `id:hash id:hash ...`.
        """
        if not _CONTENTS.fullmatch(self.contents):
            raise ValueError(f"contents of {self.name} are not `id:hash id:hash ...`")

    def content_hashes(self) -> dict[int, str]:
        """Return image id -> `hashes.content_hash` of each image, in the order written."""
        entries = (entry.split(":") for entry in self.contents.split())
        return {int(image_id): content_hash for image_id, content_hash in entries}


def total_formats(shards: Iterable[Shard]) -> tuple[dict[str, int], int]:
    """Return `Shard.formats` and `Shard.reencoded` of several shards together."""
    formats: Counter[str] = Counter()
    reencoded = 0
    for shard in shards:
        formats.update(shard.formats)
        reencoded += shard.reencoded
    return dict(sorted(formats.items())), reencoded


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """A shard's commit mark: the shard is complete when its sidecar lies beside it.

    Attributes:
        shard: The finished shard.
        fingerprint: Of everything that its bytes and its rejections come from.
        rejected: What was left out of it.
        device: What computed its features: "cpu" or a GPU's name; None without features.
    """

    shard: Shard
    fingerprint: str
    rejected: tuple[Rejection, ...]
    device: str | None = None

    def to_bytes(self) -> bytes:
        """Return the content of the sidecar's file."""
        return to_json(dataclasses.asdict(self))

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> "Sidecar":
        """Return the sidecar that `to_bytes` wrote.

        Args:
            content: The file's content.
            where: The file's name, for the message.

        Raises:
            UserError: It is not a sidecar.
        """
        try:
            value = json.loads(content)
            shard, rejected = Shard(**value["shard"]), tuple(value["rejected"])
            return cls(shard, value["fingerprint"], rejected, value["device"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{where}: not a shard's sidecar ({error})") from None
