"""A split of the records to caption, cut into parts that are read where they lie."""

from collections.abc import Iterator, Mapping

from artifacts import stored_features as stored
from captioning.parts import Part, Picture
from cli.errors import UserError
from model.encoder import Encoder
from records import wire
from records.manifest import DatasetInfo, Shard, fingerprint
from records.split_files import SplitFiles


class SplitList:
    """The records of a split in the order on disk; no part crosses a shard.

    Call arguments:
        split_files, info: of `records.split_files.open_split`.
        part_images: records in a part.

    Attributes:
        parts: all of them. images: how many records there are.
    """

    # What the build has checked is damaged now: scores of the rest would not be the split's.
    may_reject = False

    def __init__(self, split_files: SplitFiles, info: DatasetInfo, part_images: int):
        self._split_files, self._info = split_files, info
        self._held: dict[tuple[str, str], bool] = {}
        self.parts: list[Part] = []
        for path, shard in zip(
            split_files.paths, info.splits[split_files.split].shards, strict=True
        ):
            self.parts += self._cut(path, shard, part_images)
        self.images = sum(part.images for part in self.parts)

    def _cut(self, path: str, shard: Shard, part_images: int) -> Iterator[Part]:
        starts = self._starts(path, shard, part_images)
        for index, start in enumerate(starts):
            images = min(part_images, shard.records - index * part_images)
            content = fingerprint([shard.xxh128, start, images])
            yield Part(len(self.parts) + index, images, content, (path, start))

    def _starts(self, path: str, shard: Shard, part_images: int) -> list[int]:
        """The byte at which each part begins: only the lengths of the records are read."""
        starts, offset = [], 0
        with self._opened(path) as file:
            for number in range(shard.records):
                if number % part_images == 0:
                    starts.append(offset)
                file.seek(offset)
                offset += 16 + int.from_bytes(file.read(8), "little")
        if offset != shard.bytes:
            raise self._damaged(f"{path}: the lengths of its records are wrong")
        return starts

    def read(self, part: Part) -> Iterator[Picture]:
        """The images of a part; of any thread.

        Raises:
            UserError: a record is damaged.
        """
        path, start = part.place
        with self._opened(path) as file:
            file.seek(start)
            try:
                frames = wire.read_frames(file)
                for _ in range(part.images):
                    found = wire.from_bytes(next(frames))
                    yield Picture(
                        found.file_name,
                        found.image_id,
                        found.encoded,
                        found.features,
                        found.captions,
                    )
            except (wire.CorruptRecordError, StopIteration) as error:
                raise self._damaged(f"{path}: {error}") from None

    def holds_features(self, encoder: Encoder, trained: Mapping) -> bool:
        """Whether the records hold the features of a run's encoder.

        Call arguments:
            trained: the `data` part of the run's config.json.

        Raises:
            UserError: they hold another's, and no images.
        """
        key = (encoder.name, encoder.fingerprint())
        if key not in self._held:
            chosen = stored.chosen(self._split_files, self._info, encoder, trained)
            self._held[key] = chosen.grid is not None
        return self._held[key]

    def _opened(self, path: str):
        try:
            return open(path, "rb")
        except OSError as error:
            raise self._damaged(f"{path}: {error.strerror or error}") from None

    def _damaged(self, what: str) -> UserError:
        folder = self._split_files.folder
        return UserError(
            f"a record of the split {self._split_files.split!r} cannot be read ({what});"
            f" `python -m pipeline.verify_records --records_dir={folder} --decode` names it"
        )
