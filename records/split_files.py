"""The files of one split of a records directory, checked to be complete."""

import dataclasses
import os

from cli import paths
from cli.errors import UserError
from records.manifest import DATASET_INFO, DatasetInfo, read_info
from records.shard_files import Shard

_DEMO = os.path.join("data", "records", "scenes", DATASET_INFO)


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """The shards of one split on a local disk.

    Attributes:
        split: train, val or test.
        paths: The shards, in the order of the manifest.
        records: Records in the split: its images, or its pairs with --captions_per_record=1.
        bytes: Size of all shards together.
        grid: Grid of the stored features to read in place of the images; None to read the images.
    """

    split: str
    paths: tuple[str, ...]
    records: int
    bytes: int
    grid: tuple[int, int, int] | None = None

    @property
    def folder(self) -> str:
        """The records directory that holds the split."""
        return os.path.dirname(self.paths[0])


def open_split(records_dir: str, split: str) -> tuple[DatasetInfo, SplitFiles]:
    """Return the manifest of a records directory and the files of one of its splits.

    Args:
        records_dir: The directory.
        split: train, val or test.

    Raises:
        UserError: The data set, the split or a shard is missing, or a shard has another size than
            the manifest says.
    """
    info = _read_info(records_dir)
    if split not in info.splits:
        raise UserError(
            f"{records_dir}: no split {split!r}; it has {', '.join(sorted(info.splits))}"
        )
    shards = info.splits[split].shards
    paths = tuple(os.path.join(records_dir, shard.name) for shard in shards)
    for path, shard in zip(paths, shards, strict=True):
        _check_size(path, shard)
    records, size = (info.splits[split].total(field) for field in ("records", "bytes"))
    if not records:
        raise UserError(f"{records_dir}: the split {split!r} has no images")
    return info, SplitFiles(split, paths, records, size)


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


def _check_size(path: str, shard: Shard) -> None:
    size = os.path.getsize(path) if os.path.exists(path) else None
    if size != shard.bytes:
        actual = "no such file" if size is None else f"{size:,} bytes"
        raise UserError(
            f"{path}: expected {shard.bytes:,} bytes, found {actual}; run"
            " `python -m pipeline.verify_records` or build the records again"
        )
