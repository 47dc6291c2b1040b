"""Check one shard against the manifest and the contract of the records."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from pipeline.storage import files
from pixels import standard
from pixels.formats import BadImageError
from records import hashes, manifest, wire
from records.manifest import DatasetInfo
from records.schema import CaptionedImage
from records.shard_files import Shard
from records.vocabulary import END, START, Vocabulary

# Problems reported of one shard: a damaged shard must not hide the problems of the others.
_MAX_PROBLEMS_SHOWN = 20


class ShardCheck:
    """Reads one shard from its first byte to its last and reports what is wrong."""

    def __init__(self, shard: Shard, vocabulary: Vocabulary, decode: bool, info: DatasetInfo):
        """Prepare the check of one shard.

        Args:
            shard: The shard as the manifest lists it.
            vocabulary: The vocabulary of the records.
            decode: Whether to decode each image.
            info: The manifest.
        """
        self._ids: dict[int, None] = {}  # A set that keeps the order.
        self._content_hashes = shard.content_hashes()
        self._shard = shard
        self._vocabulary = vocabulary
        self._decode = decode
        self._captions_per_record = info.flags.captions_per_record
        self._has_images = info.flags.store != "features"
        self._other_bytes: set[int] = set()  # Images stored in other bytes than in the source.
        self._grid = info.encoder.grid if info.encoder else None
        self._captions: list[str] = []
        self._pairs = self._records = 0

    def problems(self, path: str) -> Iterator[str]:
        """Yield what is wrong with the shard at `path`; of many problems the first few."""
        n_problems = 0
        try:
            for problem in self._all_problems(path):
                n_problems += 1
                if n_problems <= _MAX_PROBLEMS_SHOWN:
                    yield f"{self._shard.name}: {problem}"
        except OSError as error:
            if files.exists(path):  # A missing shard is reported with the other missing files.
                yield f"{self._shard.name}: cannot be read: {files.reason(error)}"
        if n_problems > _MAX_PROBLEMS_SHOWN:
            yield f"{self._shard.name}: and {n_problems - _MAX_PROBLEMS_SHOWN} more"

    def _all_problems(self, path: str) -> Iterator[str]:
        with files.open_file(path) as file:
            reader = _ChecksummingReader(file)
            try:
                for number, record in enumerate(wire.read_frames(reader)):
                    for problem in self._record_problems(record):
                        yield f"record {number}: {problem}"
            except wire.CorruptRecordError as error:
                yield str(error)
            reader.read_to_end()
        listed = self._shard
        for name, actual, expected in (
            ("bytes", reader.size, listed.bytes),
            ("xxh128", reader.checksum.hexdigest(), listed.xxh128),
            ("images", len(self._ids), listed.images),
            ("pairs", self._pairs, listed.pairs),
            ("records", self._records, listed.records),
        ):
            if actual != expected:
                yield f"{name} {actual}, {manifest.DATASET_INFO} says {expected}"
        if listed.reencoded and self._has_images and len(self._other_bytes) != listed.reencoded:
            yield (
                f"{len(self._other_bytes)} images have other bytes than their files,"
                f" {manifest.DATASET_INFO} says {listed.reencoded}"
            )
        if listed.captions not in ("", hashes.add_captions_hashes(self._captions)):
            yield f"other captions than {manifest.DATASET_INFO} lists"
        if list(self._ids) != list(self._content_hashes):
            yield f"other images, or in another order, than {manifest.DATASET_INFO} lists"

    def _record_problems(self, record: bytes) -> Iterator[str]:
        self._records += 1
        try:
            image = wire.from_bytes(record)
        except wire.CorruptRecordError as error:
            yield str(error)
            return
        if image.image_id in self._ids and not self._captions_per_record:
            yield f"image {image.image_id} comes twice"
        self._ids[image.image_id] = None
        self._pairs += len(image.captions)
        self._captions.append(hashes.captions_hash(image))
        where = f"image {image.image_id} ({image.file_name})"
        for problem in (*self._caption_problems(image), *self._image_problems(image)):
            yield f"{where}: {problem}"

    def _caption_problems(self, image: CaptionedImage) -> Iterator[str]:
        count, expected = len(image.captions), self._captions_per_record
        if not count or (expected and count != expected):
            yield f"{count} captions, expected {expected or 'at least 1'}"
        for text, ids in zip(image.captions, image.caption_ids, strict=True):
            if not ids or ids[0] != START or ids[-1] != END:
                yield f"caption {text!r}: ids do not run from <start> to <end>"
            elif min(ids) < 0 or max(ids) >= len(self._vocabulary):
                yield f"caption {text!r}: ids outside the vocabulary"
            elif list(ids) != self._vocabulary.encode(text):
                yield f"caption {text!r}: ids are not those of its words"

    def _image_problems(self, image: CaptionedImage) -> Iterator[str]:
        yield from self._feature_problems(image.features)
        if image.encoded is None:
            if self._has_images:
                yield "the image is missing"
            return
        if not self._has_images:
            yield "there is an image, but the records were built with --store=features"
        try:
            stored = standard.read(image.encoded, decode=self._decode)
            if stored.reencoded:
                yield f"the image is a {stored.source_format} that records do not hold"
        except BadImageError as error:
            yield f"the image is {error.reason}"
        listed = self._content_hashes.get(image.image_id)
        if listed and hashes.content_hash(image.encoded) != listed:
            self._other_bytes.add(image.image_id)
            if not self._shard.reencoded:
                yield f"the image is not the one that {manifest.DATASET_INFO} lists"

    def _feature_problems(self, features: np.ndarray | None) -> Iterator[str]:
        shape = None if features is None else features.shape
        if shape != self._grid:
            yield f"features of shape {shape}, {manifest.DATASET_INFO} says {self._grid}"
        elif features is not None and not np.isfinite(features).all():
            yield "features that are not finite"


class _ChecksummingReader:
    """A file for `wire.read_frames` that computes the size and checksum of what is read."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.checksum = hashes.checksum()
        self.size = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.checksum.update(data)
        self.size += len(data)
        return data

    def read_to_end(self) -> None:
        while self.read(1 << 20):
            pass
