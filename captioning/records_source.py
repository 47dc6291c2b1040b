"""A split of the records as a source of images, cut into parts that are read where they lie."""

from collections.abc import Collection, Iterator
from typing import BinaryIO

from artifacts import stored_features
from artifacts.run_config import DataConfig
from captioning.source import Part, SourceImage
from cli.errors import UserError
from model.encoder import Encoder
from records import wire
from records.canonical_json import fingerprint
from records.manifest import DatasetInfo
from records.shard_files import Shard
from records.split_files import SplitFiles


class RecordsSource:
    """The records of a split in the order on disk; a source of images (`source.ImageSource`).

    No part crosses a shard.

    Args:
        files: The split.
        info: The manifest of the records.
        part_images: The number of records in a part.

    Attributes:
        parts: All parts.
        images: The number of records.
    """

    # The build has checked every record: where one is damaged now, scores of the others would not
    # be those of the split.
    may_reject = False

    def __init__(self, files: SplitFiles, info: DatasetInfo, part_images: int):
        self._split, self._info = files.split, info
        self._directory = files.folder
        self._held: dict[tuple[str, str], bool] = {}
        self.parts: list[Part] = []
        for path, shard in zip(files.paths, info.splits[files.split].shards, strict=True):
            self.parts += self._cut(path, shard, part_images)
        self.images = sum(part.images for part in self.parts)

    def _cut(self, path: str, shard: Shard, part_images: int) -> list[Part]:
        parts = []
        for index, start in enumerate(self._starts(path, shard, part_images)):
            images = min(part_images, shard.records - index * part_images)
            content = fingerprint([shard.xxh128, start, images])
            parts.append(Part(len(self.parts) + index, images, content, (path, start)))
        return parts

    def _starts(self, path: str, shard: Shard, part_images: int) -> list[int]:
        """Return the byte at which each part begins; only the lengths of records are read."""
        starts, offset = [], 0
        with self._open(path) as file:
            for number in range(shard.records):
                if number % part_images == 0:
                    starts.append(offset)
                file.seek(offset)
                offset += 16 + int.from_bytes(file.read(8), "little")
        if offset != shard.bytes:
            raise self._damaged(f"{path}: the lengths of its records are wrong")
        return starts

    def read(self, part: Part) -> Iterator[SourceImage]:
        """Yield the images of a part.

        Raises:
            UserError: A record is damaged.
        """
        path, start = part.place
        with self._open(path) as file:
            file.seek(start)
            try:
                frames = wire.read_frames(file)
                for _ in range(part.images):
                    record = wire.from_bytes(next(frames))
                    yield SourceImage(
                        record.file_name,
                        record.image_id,
                        record.encoded,
                        record.orientation,
                        record.features,
                        record.captions,
                    )
            except (wire.CorruptRecordError, StopIteration) as error:
                raise self._damaged(f"{path}: {error}") from None

    def holds_features(self, encoder: Encoder, data: DataConfig) -> bool:
        """Tell whether the records hold the features of a run's encoder.

        Raises:
            UserError: They hold those of another encoder, and no images.
        """
        key = (encoder.name, encoder.fingerprint())
        if key not in self._held:
            self._held[key] = stored_features.usable(
                self._info, self._directory, encoder, data.preprocessing
            )
        return self._held[key]

    def _open(self, path: str) -> BinaryIO:
        try:
            return open(path, "rb")
        except OSError as error:
            raise self._damaged(f"{path}: {error.strerror or error}") from None

    def _damaged(self, problem: str) -> UserError:
        return UserError(
            f"a record of the split {self._split!r} cannot be read ({problem});"
            f" `python -m pipeline.verify_records --records_dir={self._directory} --decode` names"
            " it"
        )


class SelectedImages:
    """Some images of a split, each once; a source of images (`source.ImageSource`).

    Args:
        records: The split.
        image_ids: The ids of the images to take.
        part_images: The number of images in a part.
    """

    may_reject = False

    def __init__(self, records: RecordsSource, image_ids: Collection[int], part_images: int):
        self._records, self._image_ids = records, frozenset(image_ids)
        self.images = len(self._image_ids)
        starts = range(0, self.images, part_images)
        counts = [min(part_images, self.images - start) for start in starts]
        self.parts = [Part(n, count, "", None) for n, count in enumerate(counts)]
        self._unread = self._selected()

    def _selected(self) -> Iterator[SourceImage]:
        seen: set[int | None] = set()  # with strict pairs an image comes once for each caption
        for part in self._records.parts:
            for image in self._records.read(part):
                if image.image_id in self._image_ids and image.image_id not in seen:
                    seen.add(image.image_id)
                    yield image

    def read(self, part: Part) -> Iterator[SourceImage]:
        """Yield the images of a part; the parts must be read in order, once, by one thread."""
        for _ in range(part.images):
            yield next(self._unread)

    def holds_features(self, encoder: Encoder, data: DataConfig) -> bool:
        """Tell what the records tell; see `RecordsSource.holds_features`."""
        return self._records.holds_features(encoder, data)
