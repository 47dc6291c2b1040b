"""The command that re-reads everything a records directory says is there."""

import hashlib
import posixpath
from collections import Counter
from collections.abc import Iterator

import numpy as np
from absl import flags

import pipeline.quiet  # noqa: F401  (before Beam is imported)
from pipeline import files, images
from records import command, manifest, wire
from records.errors import UsageError, UserError
from records.manifest import DatasetInfo, Shard, Sidecar
from records.progress import bar
from records.schema import CaptionedImage
from records.vocabulary import END, START, Vocabulary

# Of one shard, so that a damaged one does not drown the others.
_MOST_PROBLEMS = 20


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Declare this command's flags with absl."""
    flags.DEFINE_string("records_dir", None, "The records to verify.", flag_values=values)
    flags.DEFINE_bool("decode", False, "Decode every image too.", flag_values=values)


def main(_: list[str], values: flags.FlagValues = flags.FLAGS) -> int:
    """Print what is wrong, one problem a line, and return 1; or a summary and 0."""
    directory = values.records_dir
    if not directory:
        raise UsageError("--records_dir is missing: the records to verify")
    info = manifest.read_info(directory, files.open_file)
    vocabulary = manifest.read_vocabulary(directory, files.open_file)
    n_problems = 0
    for problem in problems(directory, info, vocabulary, values.decode):
        n_problems += 1
        print(problem, flush=True)
    if n_problems:
        print(f"{directory}: {n_problems} problems found")
        return 1
    splits = ", ".join(
        f"{name} {split.total('images'):,} images {split.total('pairs'):,} pairs"
        for name, split in info.splits.items()
    )
    print(f"{directory}: all is well: {splits}, {len(vocabulary):,} words")
    return 0


def problems(
    directory: str, info: DatasetInfo, vocabulary: Vocabulary, decode: bool
) -> Iterator[str]:
    """Everything that is wrong with a records directory, one line each."""
    if (
        vocabulary.fingerprint != info.vocabulary_fingerprint
        or len(vocabulary) != info.vocabulary_size
    ):
        yield f"{manifest.VOCABULARY}: not the vocabulary that {manifest.DATASET_INFO} names"
    yield from _stray_files(directory, info)
    yield from _shard_sets(info)
    total = sum(split.total("listed") for split in info.splits.values())
    first_split: dict[int, str] = {}
    all_rejected: list[dict] = []
    with bar(total, "verifying", "images") as progress:
        for split, content in info.splits.items():
            rejected: list[dict] = []
            for shard in content.shards:
                yield from _sidecar(directory, shard, rejected)
                reading = _Reading(shard, vocabulary, decode, info)
                yield from reading.problems(posixpath.join(directory, shard.name))
                for image_id in reading.ids:
                    other = first_split.setdefault(image_id, split)
                    if other != split:
                        yield f"{shard.name}: image {image_id} is in {other} too"
                progress.update(shard.listed)
            if Counter(line["reason"] for line in rejected) != content.rejected:
                yield f"{manifest.DATASET_INFO}: {split}: rejected counts differ from the sidecars'"
            all_rejected += rejected
    listed = files.read(posixpath.join(directory, manifest.REJECTED))
    if listed is not None and listed != manifest.rejected_lines(all_rejected):
        yield f"{manifest.REJECTED}: not the rejections of the sidecars"


def _stray_files(directory: str, info: DatasetInfo) -> Iterator[str]:
    expected = {manifest.DATASET_INFO, manifest.VOCABULARY, manifest.REJECTED}
    for split in info.splits.values():
        for shard in split.shards:
            expected |= {shard.name, manifest.sidecar_name(shard.name)}
    found = set(files.names(directory))
    for name in sorted(found - expected):
        yield f"{name}: does not belong here"
    for name in sorted(expected - found):
        yield f"{name}: is missing"


def _shard_sets(info: DatasetInfo) -> Iterator[str]:
    for name, split in info.splits.items():
        count = len(split.shards)
        expected = [manifest.shard_name(name, index, count) for index in range(count)]
        if [shard.name for shard in split.shards] != expected:
            yield f"{manifest.DATASET_INFO}: {name}: not shards 0 to {count - 1} of {count}"


def _sidecar(directory: str, shard: Shard, rejected: list[dict]) -> Iterator[str]:
    name = manifest.sidecar_name(shard.name)
    content = files.read(posixpath.join(directory, name))
    if content is None:
        return  # told as missing
    try:
        sidecar = Sidecar.from_bytes(content, name)
    except UserError as error:
        yield str(error)
        return
    rejected += sidecar.rejected
    if sidecar.shard != shard:
        yield f"{name}: differs from {manifest.DATASET_INFO}"


class _Reading:
    """One shard, read from its first byte to its last.

    Attributes:
        ids: of the images met.
    """

    def __init__(self, shard: Shard, vocabulary: Vocabulary, decode: bool, info: DatasetInfo):
        self.ids: set[int] = set()
        self._shard = shard
        self._vocabulary = vocabulary
        self._decode = decode
        self._per_record = info.flags["captions_per_record"]
        self._images = info.flags["store"] != "features"
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
        met = (reader.size, reader.sha256.hexdigest(), len(self.ids), self._pairs, self._records)
        listed = (shard.bytes, shard.sha256, shard.images, shard.pairs, shard.records)
        names = ("bytes", "sha256", "images", "pairs", "records")
        for name, here, there in zip(names, met, listed, strict=True):
            if here != there:
                yield f"{name} {here}, {manifest.DATASET_INFO} says {there}"

    def _record_problems(self, record: bytes) -> Iterator[str]:
        self._records += 1
        try:
            image = wire.from_bytes(record)
        except wire.CorruptRecordError as error:
            yield str(error)
            return
        if image.image_id in self.ids and not self._per_record:
            yield f"image {image.image_id} comes twice"
        self.ids.add(image.image_id)
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
        self.sha256 = hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        self.size += len(data)
        return data

    def read_rest(self) -> None:
        while self.read(1 << 20):
            pass


if __name__ == "__main__":
    define_flags()
    command.run(main)
