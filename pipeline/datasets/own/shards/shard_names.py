"""Files that hold many images each: which there are, and to which split each belongs.

Folders (`train/00000.tar`, `data/validation/0.parquet`) or file names say the split
(`train-00000-of-00002.parquet`, `coco_val-3.tar`).
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.datasets.own.entries import SPLIT_NAMES, split_of
from pipeline.datasets.own.findings import Findings
from pipeline.datasets.own.lists import split_in_name
from pipeline.storage import files

# Where data sets of the Hugging Face hub keep their files.
_DATA = "data"
_NUMBERED = re.compile(r"(?P<series>.*)-(?P<number>\d{4,})-of-(?P<count>\d{4,})")


class ShardFile(NamedTuple):
    """A file that holds many images.

    Attributes:
        path: Its path.
        name: Its path relative to the folder of the data set.
        split: train, val or test; None when neither folder nor name says it.
    """

    path: str
    name: str
    split: str | None


def find(data_dir: str, suffixes: tuple[str, ...], findings: Findings) -> list[ShardFile]:
    """Return the files of a data set, sorted by their names.

    Args:
        data_dir: The folder, or one file.
        suffixes: The ends of the files' names.
        findings: Takes remarks, and the files whose split is unclear.
    """
    shards = list(_find(data_dir, suffixes))
    of_split = [shard for shard in shards if shard.split]
    if of_split:
        for shard in shards:
            if not shard.split:
                findings.problem(
                    shard.path,
                    f"neither its folder nor its name says its split, unlike those of"
                    f" {of_split[0].path}; move it into train/, val/ or test/, or away",
                )
    _remark_on_gaps(shards, findings)
    return shards


def _find(data_dir: str, suffixes: tuple[str, ...]) -> Iterator[ShardFile]:
    if data_dir.endswith(suffixes):
        name = posixpath.basename(data_dir)
        yield ShardFile(data_dir, name, split_in_name(name))
        return
    for folder in ("", _DATA):
        for name in sorted({"", *SPLIT_NAMES, *files.names(posixpath.join(data_dir, folder))}):
            split = split_of(name)
            if name and not split:
                continue
            inner = posixpath.join(folder, name)
            for file_name in files.names(posixpath.join(data_dir, inner)):
                if file_name.endswith(suffixes) and not file_name.startswith("."):
                    relative = posixpath.join(inner, file_name)
                    path = posixpath.join(data_dir, relative)
                    yield ShardFile(path, relative, split or split_in_name(file_name))


def _remark_on_gaps(shards: list[ShardFile], findings: Findings) -> None:
    """Remark on files that are missing, as their neighbours' names say: 00001 of 00005."""
    numbers: dict[tuple[str, int], set[int]] = defaultdict(set)
    for shard in shards:
        match = _NUMBERED.match(shard.path)
        if match:
            numbers[match["series"], int(match["count"])].add(int(match["number"]))
    for (series, count), present in numbers.items():
        missing = sorted(set(range(count)) - present)
        if missing:
            findings.remark(
                f"{series}: {len(missing):,} of {count:,} files are missing, number"
                f" {missing[0]:05} the first"
            )
