"""Records held against the source that they were built from: what changed there since."""

import dataclasses
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence

from cli.errors import UserError
from cli.progress import bar
from pipeline import datasets
from pipeline.config import Config
from pipeline.job import images
from pipeline.job.describe import Description, describe
from pipeline.job.load import read, to_store
from pipeline.storage import files
from records import manifest, wire
from records.manifest import DatasetInfo, Shard, Sidecar


def changes(directory: str, info: DatasetInfo, data_dir: str) -> Iterator[str]:
    """What of the source is not as it was when the records were built, one line each.

    Call arguments:
        directory: the records. info: their manifest. data_dir: where the source lies now.

    Raises:
        UserError: the source is not there (at once), or cannot be read.
    """
    config = Config.from_manifest(info.flags, directory)
    # How many shards there are is no matter of the source's, and not to be refused here.
    config = dataclasses.replace(config, data_dir=data_dir, train_shards=0, val_shards=0)
    there, _ = datasets.source(config.dataset).splits(data_dir, need_train=False)
    return _changes(directory, info, config, there)


def _changes(
    directory: str, info: DatasetInfo, config: Config, there: Sequence[str]
) -> Iterator[str]:
    source = datasets.source(config.dataset)
    for name in there:
        if name not in info.splits:
            yield f"{name}: a split that the records have not"
    for name, split in info.splits.items():
        if name in there:
            described = describe(source.read(config.data_dir, name), name, config)
            yield from _split_changes(directory, split.shards, described, config)
        else:
            yield f"{name}: no such split in {config.data_dir} any more"


def _split_changes(
    directory: str, shards: Sequence[Shard], described: list[Description], config: Config
) -> Iterator[str]:
    listed: dict[int, Description] = {}
    for description in described:
        listed.setdefault(description.image_id, description)  # of duplicates the first is kept
    with bar(len(listed), f"comparing {described[0].split}", "images") as progress:
        left_out: dict[int, str] = {}
        for shard in shards:
            left_out |= _left_out(directory, shard)
            stored = _stored(directory, shard)
            for image_id, content in shard.hashes().items():
                description = listed.pop(image_id, None)
                if description is None:
                    yield f"{shard.name}: image {image_id} is not listed any more"
                    continue
                changed = [
                    *_picture_changes(description, content, config),
                    *_text_changes(description, stored.get(image_id)),
                ]
                for change in changed:
                    yield f"{shard.name}: image {image_id} ({description.file_name}) {change}"
                progress.update()
        for description in listed.values():
            change = _left_out_change(description, left_out.get(description.image_id), config)
            if change:
                yield (
                    f"{description.split}: image {description.image_id}"
                    f" ({description.file_name}) {change}"
                )
            progress.update()


def _left_out(directory: str, shard: Shard) -> dict[int, str]:
    """Image id -> why it was left out of a shard, as far as its sidecar can be read."""
    name = posixpath.join(directory, manifest.sidecar_name(shard.name))
    try:
        rejected = Sidecar.from_bytes(files.read(name) or b"", name).rejected
    except UserError:
        return {}  # told by the reading of the records
    return {
        line["image_id"]: line["reason"]
        for line in rejected
        if "caption_id" not in line and line["reason"] != "duplicate_image_id"
    }


def _stored(directory: str, shard: Shard) -> dict[int, tuple[str, tuple[str, ...]]]:
    """Image id -> (file name, captions) of a shard's records, as far as they can be read."""
    stored: dict[int, tuple[str, tuple[str, ...]]] = {}
    try:
        with files.open_file(posixpath.join(directory, shard.name)) as file:
            for record in wire.read_frames(file):
                image = wire.from_bytes(record)
                _, captions = stored.get(image.image_id, ("", ()))
                stored[image.image_id] = (image.file_name, captions + image.captions)
    except (OSError, wire.CorruptRecordError):
        pass  # told by the reading of the records
    return stored


def _load(description: Description, config: Config) -> bytes:
    """The image's bytes now. Raises BadImageError, UserError."""
    path = description.path
    version = datasets.source(config.dataset).image_version(path) if path else None
    return read(path, version, config)


def _picture_changes(description: Description, content: str, config: Config) -> Iterator[str]:
    try:
        if manifest.content_hash(_load(description, config)) != content:
            yield "has other bytes than were built from"
    except images.BadImageError as error:
        yield "is missing" if error.reason == "missing_file" else f"is {error.reason}"
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
    gone, new = list((before - now).elements()), list((now - before).elements())
    if gone or new:
        lost = [f"no more {text!r}" for text in gone]
        yield f"has other captions: {', '.join(lost + [f'now {text!r}' for text in new])}"
    elif captions != description.captions:
        yield "has its captions in another order"


def _left_out_change(description: Description, before: str | None, config: Config) -> str | None:
    """What to say of an image that is listed and not in the records; None when it is as it was."""
    if before is None:
        return "is new"
    now = "good"
    try:
        if not description.captions:
            now = "no_captions"
        else:
            to_store(_load(description, config), config)
    except images.BadImageError as error:
        now = error.reason
    except UserError as error:
        return f"cannot be compared: {error}"
    # With features some are found corrupt by the encoder alone.
    same = now == before or (before == "corrupt" and config.features)
    return None if same else f"was left out as {before} and is {now} now"
