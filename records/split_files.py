"""The files of one split of a records directory, checked to be complete."""

import dataclasses
import hashlib
import os

from cli import paths
from cli.errors import UserError
from records import wire
from records.hashes import checksum
from records.manifest import (
    DATASET_INFO,
    VOCABULARY,
    DatasetInfo,
    Split,
    read_info,
    read_vocabulary,
)
from records.shard_files import Shard, Sidecar, sidecar_name

# A split of up to this size is read whole before it is used, which takes a second or two.
_READ_BYTES = 1_000_000_000
_DEMO = os.path.join("data", "records", "scenes", DATASET_INFO)


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """The shards of one split on a local disk.

    Attributes:
        split: train, val or test.
        paths: The shards to read, in the order of the manifest.
        records: Records to read: one for each image, or for each pair with --captions_per_record=1.
        bytes: Size of these records together.
        grid: Grid of the stored features to read in place of the images; None to read the images.
        last_shard_records: Records to read of the last shard; None for all of them.
        images: Images of these records; strict pairs have several records of an image.
    """

    split: str
    paths: tuple[str, ...]
    records: int
    bytes: int
    grid: tuple[int, int, int] | None = None
    last_shard_records: int | None = None
    images: int = 0

    @property
    def folder(self) -> str:
        """The records directory that holds the split."""
        return os.path.dirname(self.paths[0])


def open_split(records_dir: str, split: str, max_images: int = 0) -> tuple[DatasetInfo, SplitFiles]:
    """Return the manifest of a records directory and the files of one of its splits.

    Args:
        records_dir: The directory.
        split: train, val or test.
        max_images: How many of the first images to take, in the order of the shards and of the
            records in them; 0 for all. Shards that hold none of them are not looked at.

    Raises:
        UserError: The data set, the split or a shard is missing; a shard or the vocabulary is not
            the one that the manifest names.
    """
    info = _read_info(records_dir)
    if split not in info.splits:
        raise UserError(
            f"{records_dir}: no split {split!r}; it has {', '.join(sorted(info.splits))}"
        )
    taken = info.splits[split]
    last_images = None
    if 0 < max_images < taken.total("images"):
        taken, last_images = _first_images(taken, max_images)
    paths = tuple(os.path.join(records_dir, shard.name) for shard in taken.shards)
    records, size = taken.total("records"), taken.total("bytes")
    _check_vocabulary(records_dir, info)
    for path, shard in zip(paths, taken.shards, strict=True):
        _check_shard(path, shard, read=size <= _READ_BYTES)
    if not records:
        raise UserError(f"{records_dir}: the split {split!r} has no images")
    if last_images is None:
        return info, SplitFiles(split, paths, records, size, images=taken.total("images"))
    last = taken.shards[-1]
    last_records = _count_records(paths[-1], last, last_images)
    records -= last.records - last_records
    size -= last.bytes - last.bytes * last_records // last.records
    return info, SplitFiles(
        split, paths, records, size, last_shard_records=last_records, images=max_images
    )


def _first_images(split: Split, images: int) -> tuple[Split, int]:
    """Return a split without the shards behind its first images, and how many are in the last."""
    shards = []
    for shard in split.shards:
        if shard.images:
            shards.append(shard)
        if images <= shard.images:
            break
        images -= shard.images
    return dataclasses.replace(split, shards=tuple(shards)), images


def _count_records(path: str, shard: Shard, images: int) -> int:
    """Return how many records the first images of a shard have; read them where they may be more.

    The records of an image follow one another.
    """
    if images == shard.images:
        return shard.records
    if shard.records == shard.images:
        return images
    seen: set[int] = set()
    try:
        with open(path, "rb") as file:
            for number, frame in enumerate(wire.read_frames(file)):
                seen.add(wire.from_bytes(frame).image_id)
                if len(seen) > images:
                    return number
    except wire.CorruptRecordError as error:
        raise UserError(
            f"{path}: {error}; `python -m pipeline.verify_records"
            f" --records_dir={os.path.dirname(path)}` says more; build the records again"
        ) from None
    raise _foreign(path, os.path.dirname(path))  # It holds fewer images than the manifest says.


def _read_info(records_dir: str) -> DatasetInfo:
    """Read the manifest; where that fails and the demo's records exist, point to them."""
    try:
        return read_info(records_dir)
    except UserError as error:
        if not os.path.exists(records_dir) and (near := paths.suggest(records_dir)):
            raise UserError(f"{error}{near}") from None
        if not os.path.exists(_DEMO):
            raise
        raise UserError(
            f"{error}; the demo's records are at hand: --flagfile=flags/demo.flags"
        ) from None


def _check_vocabulary(records_dir: str, info: DatasetInfo) -> None:
    path = os.path.join(records_dir, VOCABULARY)
    if os.path.exists(path) and read_vocabulary(path).fingerprint != info.vocabulary_fingerprint:
        raise _foreign(path, records_dir)


def _check_shard(path: str, shard: Shard, read: bool) -> None:
    """Refuse a shard that is not the one that the manifest names.

    Args:
        path: The shard.
        shard: The shard as the manifest lists it.
        read: Whether to read it; else its size and its sidecar must do.
    """
    size = os.path.getsize(path) if os.path.exists(path) else None
    if size != shard.bytes:
        actual = "no such file" if size is None else f"{size:,} bytes"
        raise UserError(
            f"{path}: expected {shard.bytes:,} bytes, found {actual}; run"
            " `python -m pipeline.verify_records` or build the records again"
        )
    sidecar = sidecar_name(path)
    if os.path.exists(sidecar):
        with open(sidecar, "rb") as file:
            if Sidecar.from_bytes(file.read(), sidecar).shard.xxh128 != shard.xxh128:
                raise _foreign(sidecar, os.path.dirname(path))
    if read:
        with open(path, "rb") as file:
            if hashlib.file_digest(file, checksum).hexdigest() != shard.xxh128:
                raise _foreign(path, os.path.dirname(path))


def _foreign(path: str, records_dir: str) -> UserError:
    return UserError(
        f"{path}: not the file that {DATASET_INFO} beside it names: it was edited, damaged or comes"
        f" from another build; `python -m pipeline.verify_records --records_dir={records_dir}` says"
        " more; build the records again"
    )
