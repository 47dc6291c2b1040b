"""WebDataset: tar shards, as img2dataset writes them.

data_dir/00000.tar     with the members 000000000.jpg, 000000000.txt, 000000000.json

Folders (train/, val/, test/) or names (train-00000.tar) say the splits. Members whose names differ
only after the first dot belong together: an image, and its captions in `caption` or `captions` of
a .json, else in the lines of a .txt. Other members and img2dataset's files beside the tars are
passed over. Images are read by their place in the tar, and nothing is unpacked.
"""

import dataclasses
import itertools
import json
import math
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from cli.errors import UserError
from pipeline.datasets.fields import shown
from pipeline.datasets.own.entries import Entry, EntrySource
from pipeline.datasets.own.findings import Findings
from pipeline.datasets.own.shards import shard_names, tar_members
from pipeline.datasets.own.shards.shard_names import ShardFile
from pipeline.datasets.own.shards.tar_members import Member, Place
from pipeline.datasets.source import ImageVersion
from pixels.formats import SUFFIXES

_TAR = ".tar"
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
# WebDataset's rule: the key ends at the first dot of the file's name.
_NAME = re.compile(r"(?P<key>(?:.*/)?[^./]+)\.(?P<suffix>[^/]*)")
_TEXTS = ("txt", "json")
# Members of a tar that tell whether it is a shard.
_LOOKED_AT = 100
_CAPTION_FIELDS = ("captions", "caption")


class WebDataset(EntrySource):
    """Tar shards with images and captions."""

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if it has tar shards with texts."""
        for shard in shard_names.find(data_dir, (_TAR,), Findings())[:1]:
            if _has_texts(shard.path):
                return f"{shard.path}, a tar shard of a WebDataset"
        return None

    def entries(self, data_dir: str, findings: Findings) -> Iterator[Entry]:
        """Yield the samples of every shard; `EntrySource.entries` says more."""
        return _entries(_shards(data_dir, findings), findings)

    def entries_of(self, data_dir: str, split: str, findings: Findings) -> Iterator[Entry]:
        """Yield the samples of the shards that may have images of a split."""
        shards = _shards(data_dir, findings)
        if not self.divides:
            shards = [shard for shard in shards if shard.split in (split, None)]
        return _entries(shards, findings)

    def image_version(self, path: str) -> ImageVersion | None:
        """Return the version of a member: its size, and the hash of its header."""
        place = _place(path)
        return place and ImageVersion(place.size, label=f"{place.size}:{place.header}")

    def read_image(self, path: str) -> bytes | None:
        """Return the data of a member."""
        place = _place(path)
        return place and tar_members.read(place)


def _has_texts(path: str) -> bool:
    """Return whether a tar begins with texts among its members; one that is damaged may do so."""
    members = tar_members.members(path, lambda name: False)
    try:
        return any(
            _parts(member.name)[1] in _TEXTS for member in itertools.islice(members, _LOOKED_AT)
        )
    except UserError:
        return True


def _shards(data_dir: str, findings: Findings) -> list[ShardFile]:
    """Return the tars of a data set.

    Raises:
        UserError: There are none, or one is compressed or has no clear split.
    """
    shards = shard_names.find(data_dir, (_TAR, *_COMPRESSED), findings)
    for shard in shards:
        if not shard.path.endswith(_TAR):
            findings.problem(
                shard.path, "images cannot be read by their place in it: decompress it to .tar"
            )
    findings.check()
    if not shards:
        raise UserError(
            f"{data_dir}: no file that ends in .tar lies there, nor in train/, val/ or test/"
        )
    return shards


def _entries(shards: list[ShardFile], findings: Findings) -> Iterator[Entry]:
    passed_over = _PassedOver()
    for shard in shards:
        yield from _samples(shard, findings, passed_over)
    passed_over.report(findings)


def _place(path: str) -> Place | None:
    """Return where the image at a listing's path lies; None for a sample without an image."""
    return None if path.endswith("#") else Place.parse(path)


@dataclasses.dataclass
class _Sample:
    """The members of one key: the image, and the captions that each of its texts gives."""

    image: Member | None = None
    captions: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


class _PassedOver:
    """Counts the members that are no part of a sample."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, shard: ShardFile, member: Member) -> None:
        """Count a member."""
        kind = posixpath.basename(member.name).partition(".")[2]
        kind = f"members that end in .{kind}" if kind else "members without an ending"
        if not member.place:
            kind = "links, devices, sparse files and names that lead elsewhere"
        self._kinds[kind] += 1
        self._first.setdefault(kind, f"{member.name} of {shard.path}")

    def report(self, findings: Findings) -> None:
        """Remark on each kind."""
        for kind, count in self._kinds.most_common():
            findings.remark(f"passed over: {count:,} {kind}, such as {self._first[kind]}")


def _samples(shard: ShardFile, findings: Findings, passed_over: _PassedOver) -> Iterator[Entry]:
    """Yield the samples of a tar in the order of their first members."""
    samples: dict[str, _Sample] = {}
    for member in tar_members.members(shard.path, lambda name: _parts(name)[1] in _TEXTS):
        key, suffix = _parts(member.name)
        if not member.place or not key or not (suffix in _TEXTS or f".{suffix}" in SUFFIXES):
            passed_over.add(shard, member)
            continue
        sample = samples.setdefault(key, _Sample())
        place = f"{shard.path}: {member.name}"
        if suffix in _TEXTS:
            if suffix in sample.captions:
                findings.problem(place, f"a second .{suffix} with the key {shown(key)}")
            try:
                sample.captions[suffix] = _captions(member, suffix)
            except ValueError as error:
                findings.problem(place, str(error))
        elif sample.image:
            findings.problem(
                place, f"a second image with the key {shown(key)}, beside {sample.image.name}"
            )
        else:
            sample.image = member
    for key, sample in samples.items():
        captions = sample.captions.get("json") or sample.captions.get("txt") or ()
        # A sample without an image has no file; without captions either it is none.
        if sample.image or captions:
            name = sample.image.name if sample.image else key
            image_place = sample.image.place if sample.image else f"{shard.path}/{key}#"
            yield Entry(
                posixpath.join(shard.name.removesuffix(_TAR), name),
                str(image_place),
                captions,
                f"{shard.path}: {name}",
                shard.split,
            )


def _parts(name: str) -> tuple[str, str]:
    """Return (key, ending in lower case) of a member; ("", "") when it has no key."""
    match = _NAME.fullmatch(name)
    return (match["key"], match["suffix"].lower()) if match else ("", "")


def _captions(member: Member, suffix: str) -> tuple[str, ...]:
    """Return the captions in a text.

    Raises:
        ValueError: The text cannot be read; the message says where.
    """
    try:
        text = (member.text or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    if suffix == "txt":
        return tuple(line for line in text.replace("\r\n", "\n").split("\n") if line.strip())
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"damaged JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        raise ValueError(message) from None
    except RecursionError as error:
        raise ValueError(f"damaged JSON: {error}") from None
    if not isinstance(content, dict):
        return ()  # Another file's: a list of boxes, a class.
    for field in _CAPTION_FIELDS:
        captions = _strings(content.get(field), field)
        if captions:
            return captions
    return ()


def _strings(value: Any, field: str) -> tuple[str, ...]:
    """Return the texts in a field; img2dataset writes null or NaN where there was none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(text, str | None) for text in value):
        return tuple(text for text in value if text is not None)
    raise ValueError(f'"{field}" must be a string or a list of strings, found {shown(value)}')
