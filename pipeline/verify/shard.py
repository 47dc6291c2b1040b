"""One shard, held against the manifest and the contract."""

from collections.abc import Iterator

import numpy as np

from pipeline.job import images
from pipeline.storage import files
from records import manifest, wire
from records.manifest import DatasetInfo, Shard
from records.schema import CaptionedImage
from records.vocabulary import END, START, Vocabulary

# Of one shard, so that a damaged one does not drown the others.
_MOST_PROBLEMS = 20


class Reading:
    """One shard, read from its first byte to its last.

    Call arguments:
        shard: as the manifest `info` lists it.
        decode: whether to decode each JPEG too.
    """

    def __init__(self, shard: Shard, vocabulary: Vocabulary, decode: bool, info: DatasetInfo):
        self._ids: dict[int, None] = {}  # a set that keeps the order
        self._listed = shard.hashes()
        self._shard = shard
        self._vocabulary = vocabulary
        self._decode = decode
        self._per_record = info.flags["captions_per_record"]
        self._images = info.flags["store"] != "features"
        self._as_in_source = not info.preprocessing["image_size"]
        self._grid = tuple(info.encoder["grid"]) if info.encoder else None
        self._pairs = self._records = 0

    def problems(self, path: str) -> Iterator[str]:
        """What is wrong with the shard at `path`; of many problems the first few."""
        found = 0
        try:
            for problem in self._all_problems(path):
                found += 1
                if found <= _MOST_PROBLEMS:
                    yield f"{self._shard.name}: {problem}"
        except OSError as error:
            if files.exists(path):  # else told as missing
                yield f"{self._shard.name}: cannot be read: {files.reason(error)}"
        if found > _MOST_PROBLEMS:
            yield f"{self._shard.name}: and {found - _MOST_PROBLEMS} more"

    def _all_problems(self, path: str) -> Iterator[str]:
        with files.open_file(path) as file:
            reader = _Checksummed(file)
            try:
                for number, record in enumerate(wire.read_frames(reader)):
                    for problem in self._record_problems(record):
                        yield f"record {number}: {problem}"
            except wire.CorruptRecordError as error:
                yield str(error)
            reader.read_rest()
        shard = self._shard
        met = (reader.size, reader.checksum.hexdigest(), len(self._ids), self._pairs, self._records)
        listed = (shard.bytes, shard.xxh128, shard.images, shard.pairs, shard.records)
        names = ("bytes", "xxh128", "images", "pairs", "records")
        for name, here, there in zip(names, met, listed, strict=True):
            if here != there:
                yield f"{name} {here}, {manifest.DATASET_INFO} says {there}"
        if list(self._ids) != list(self._listed):
            yield f"other images, or in another order, than {manifest.DATASET_INFO} lists"

    def _record_problems(self, record: bytes) -> Iterator[str]:
        self._records += 1
        try:
            image = wire.from_bytes(record)
        except wire.CorruptRecordError as error:
            yield str(error)
            return
        if image.image_id in self._ids and not self._per_record:
            yield f"image {image.image_id} comes twice"
        self._ids[image.image_id] = None
        self._pairs += len(image.captions)
        where = f"image {image.image_id} ({image.file_name})"
        for problem in (*self._caption_problems(image), *self._image_problems(image)):
            yield f"{where}: {problem}"

    def _caption_problems(self, image: CaptionedImage) -> Iterator[str]:
        if not image.captions or (self._per_record and len(image.captions) != self._per_record):
            yield f"{len(image.captions)} captions"
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
            if self._images:
                yield "the JPEG is missing"
            return
        if not self._images:
            yield "a JPEG, though --store=features was asked"
        try:
            images.check_header(image.encoded)
            if self._decode:
                images.check_pixels(image.encoded)
        except images.BadImageError as error:
            yield f"the JPEG is {error.reason}"
        listed = self._listed.get(image.image_id)
        if self._as_in_source and listed and manifest.content_hash(image.encoded) != listed:
            yield f"the JPEG is not the one that {manifest.DATASET_INFO} lists"

    def _feature_problems(self, features: np.ndarray | None) -> Iterator[str]:
        found = None if features is None else features.shape
        if found != self._grid:
            yield f"features of shape {found}, {manifest.DATASET_INFO} says {self._grid}"
        elif features is not None and not np.isfinite(features).all():
            yield "features that are not finite"


class _Checksummed:
    """A file for `wire.read_frames` that sums up what is read."""

    def __init__(self, file):
        self._file = file
        self.checksum = manifest.checksum()
        self.size = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.checksum.update(data)
        self.size += len(data)
        return data

    def read_rest(self) -> None:
        while self.read(1 << 20):
            pass
