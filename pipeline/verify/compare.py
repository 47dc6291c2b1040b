"""Compare records with the source they were built from: what has changed there since."""

import functools
import posixpath
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from cli.errors import UserError
from cli.progress import bar
from pipeline import datasets
from pipeline.datasets.options import SourceOptions
from pipeline.datasets.source import DataSource
from pipeline.job.describe import Description, describe, read_listing
from pipeline.job.load import read_image
from pipeline.storage import files
from pixels import standard
from pixels.formats import BadImageError
from records import hashes, shard_files, wire
from records.manifest import DatasetInfo
from records.rejections import RejectionReason
from records.shard_files import Shard, Sidecar


def changes(directory: str, info: DatasetInfo, data_dir: str) -> Iterator[str]:
    """Compare records with their source.

    Args:
        directory: The records.
        info: Their manifest.
        data_dir: Where the source is now.

    Returns:
        An iterator of changes, one line each. Errors in the source's images are changes, too.

    Raises:
        UserError: The source is missing (raised at once), or its annotations cannot be read.
    """
    source_splits, _ = _source(info).splits(data_dir, need_train=False)
    return _changes(directory, info, data_dir, source_splits)


def _source(info: DatasetInfo) -> DataSource:
    """Return the source that records were built from."""
    return _same_source(info.dataset, SourceOptions.from_flags(info.flags.every))


@functools.lru_cache(maxsize=1)
def _same_source(dataset: str, options: SourceOptions) -> DataSource:
    # It may keep its place in a file between two images.
    return datasets.source(dataset, options)


def _changes(
    directory: str, info: DatasetInfo, data_dir: str, source_splits: Collection[str]
) -> Iterator[str]:
    for name in source_splits:
        if name not in info.splits:
            yield f"{name}: a split that is not in the records"
    for name, split in info.splits.items():
        if name in source_splits:
            described = describe(
                read_listing(_source(info), data_dir, name),
                name,
                max_caption_words=info.flags.max_caption_words,
                seed=info.seed,
            )
            yield from _split_changes(directory, split.shards, described, info)
        else:
            yield f"{name}: no longer a split of {data_dir}"


def _split_changes(
    directory: str, shards: Sequence[Shard], described: list[Description], info: DatasetInfo
) -> Iterator[str]:
    split = described[0].split
    not_stored: dict[int, Description] = {}
    for description in described:
        not_stored.setdefault(description.image_id, description)  # A build keeps the first, too.
    with bar(len(not_stored), f"comparing {split}", "images") as progress:
        reasons: dict[int, str] = {}
        for shard in shards:
            reasons |= _rejection_reasons(directory, shard)
            stored = _stored(directory, shard)
            for image_id, content_hash in shard.content_hashes().items():
                listed = not_stored.pop(image_id, None)
                if listed is None:
                    yield f"{shard.name}: image {image_id} is no longer listed"
                    continue
                image_changes = [
                    *_picture_changes(listed, content_hash, info),
                    *_text_changes(listed, stored.get(image_id)),
                ]
                for change in image_changes:
                    yield f"{shard.name}: image {image_id} ({listed.file_name}) {change}"
                progress.update()
        for image_id, description in not_stored.items():
            left_out_change = _left_out_change(description, reasons.get(image_id), info)
            if left_out_change:
                yield f"{split}: image {image_id} ({description.file_name}) {left_out_change}"
            progress.update()


def _rejection_reasons(directory: str, shard: Shard) -> dict[int, str]:
    """Return why images were left out of a shard, by image id; empty for a damaged sidecar."""
    name = posixpath.join(directory, shard_files.sidecar_name(shard.name))
    try:
        rejected = Sidecar.from_bytes(files.read(name) or b"", name).rejected
    except UserError:
        return {}  # The check of the records reports it.
    return {
        line["image_id"]: line["reason"]
        for line in rejected
        if "caption_id" not in line and line["reason"] != RejectionReason.DUPLICATE_IMAGE_ID
    }


def _stored(directory: str, shard: Shard) -> dict[int, tuple[str, tuple[str, ...]]]:
    """Return (file name, captions) in a shard's records by image id, up to the first damage."""
    stored: dict[int, tuple[str, tuple[str, ...]]] = {}
    try:
        with files.open_file(posixpath.join(directory, shard.name)) as file:
            for record in wire.read_frames(file):
                image = wire.from_bytes(record)
                _, captions = stored.get(image.image_id, ("", ()))
                stored[image.image_id] = (image.file_name, captions + image.captions)
    except (OSError, wire.CorruptRecordError):
        pass  # The check of the records reports it.
    return stored


def _load(description: Description, info: DatasetInfo) -> bytes:
    """Return the image's bytes in the source now; `load.read_image` says what is raised."""
    path = description.path
    source = _source(info)
    version = source.image_version(path) if path else None
    return read_image(source, path, version)


def _picture_changes(
    description: Description, content_hash: str, info: DatasetInfo
) -> Iterator[str]:
    try:
        if hashes.content_hash(_load(description, info)) != content_hash:
            yield "has other bytes than when the records were built"
    except BadImageError as error:
        missing = error.reason == RejectionReason.MISSING_FILE
        yield "is missing" if missing else f"is {error.reason}"
    except UserError as error:
        yield f"cannot be compared: {error}"


def _text_changes(
    description: Description, stored: tuple[str, tuple[str, ...]] | None
) -> Iterator[str]:
    if stored is None:
        return
    name, captions = stored
    if name != description.file_name:
        yield f"had the file name {name}"
    before, now = Counter(captions), Counter(description.captions)
    removed = [f"no longer {text!r}" for text in (before - now).elements()]
    added = [f"now {text!r}" for text in (now - before).elements()]
    if removed or added:
        yield f"has other captions: {', '.join(removed + added)}"
    elif captions != description.captions:
        yield "has its captions in another order"


def _left_out_change(description: Description, before: str | None, info: DatasetInfo) -> str | None:
    """Return what has changed for a listed image that is not in the records; None for nothing.

    Args:
        description: The image as the source lists it now.
        before: Why the build left it out; None when it was not listed then.
        info: The manifest of the records.
    """
    if before is None:
        return "is new"
    now: str = "good"
    decode = info.flags.verify == "decode" or info.encoder is not None
    try:
        if not description.captions:
            now = RejectionReason.NO_CAPTIONS
        else:
            side = info.preprocessing.image_size
            standard.read(_load(description, info), shorter_side=side, decode=decode)
    except BadImageError as error:
        now = error.reason
    except UserError as error:
        return f"cannot be compared: {error}"
    # Only the encoder finds some corrupt images, and it does not run here.
    same = now == before or (before == RejectionReason.CORRUPT and info.encoder is not None)
    return None if same else f"was left out as {before} and is {now} now"
