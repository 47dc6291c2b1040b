"""The per-shard writer: read, check, write, rename, sidecar. Images enter the job here only."""

import dataclasses
import hashlib
import posixpath
from collections.abc import Iterator, Sequence

from pipeline import datasets, files, images
from pipeline.config import Config
from pipeline.describe import Description, rejection
from pipeline.progress import Progress
from records import manifest, wire
from records.errors import UserError
from records.manifest import Shard, Sidecar
from records.schema import SCHEMA_VERSION, CaptionedImage
from records.vocabulary import Vocabulary


def write_shard(
    name: str,
    descriptions: Sequence[Description],
    vocabulary: Vocabulary,
    config: Config,
    progress: Progress,
) -> Sidecar:
    """Make the shard `name` hold `descriptions`, unless its sidecar says that it does already.

    The sidecar is written last: a shard without one is not there.

    Raises:
        UserError: an image cannot be read though it is there, or the shard cannot be written.
    """
    descriptions = sorted(descriptions, key=lambda description: description.place)
    source = datasets.source(config.dataset)
    sizes = [source.image_size(d.path) if d.path and d.captions else None for d in descriptions]
    fingerprint = _fingerprint(descriptions, sizes, vocabulary, config)
    path = posixpath.join(config.output_dir, name)
    finished = _finished(path, fingerprint)
    if finished:
        kept = finished.shard
        progress.add(kept_shards=1, kept_images=kept.images)
        progress.add(listed=kept.listed, rejected=kept.listed - kept.images)
        return finished
    # A data set that is about to change is none, and a shard that is about to change is not there.
    files.delete(posixpath.join(config.output_dir, manifest.DATASET_INFO))
    files.delete(manifest.sidecar_name(path))
    sidecar = _write(path, descriptions, sizes, fingerprint, vocabulary, config, progress)
    files.write(manifest.sidecar_name(path), sidecar.to_bytes())
    return sidecar


def _fingerprint(
    descriptions: Sequence[Description],
    sizes: Sequence[int | str | None],
    vocabulary: Vocabulary,
    config: Config,
) -> str:
    """sha256 of all that the shard's bytes and rejections come from."""
    content = [
        [d.image_id, d.file_name, size, d.captions, d.rejected]
        for d, size in zip(descriptions, sizes, strict=True)
    ]
    versions = [SCHEMA_VERSION, manifest.WRITER_VERSION]
    flags = [config.image_size, config.captions_per_record, config.verify]
    return manifest.fingerprint([versions, flags, vocabulary.fingerprint, content])


def _finished(path: str, fingerprint: str) -> Sidecar | None:
    sidecar_path = manifest.sidecar_name(path)
    content = files.read(sidecar_path)
    if content is None:
        return None
    try:
        sidecar = Sidecar.from_bytes(content, sidecar_path)
    except UserError:
        return None
    whole = sidecar.fingerprint == fingerprint and files.size(path) == sidecar.shard.bytes
    return sidecar if whole else None


def _write(path, descriptions, sizes, fingerprint, vocabulary, config, progress) -> Sidecar:
    checksum = hashlib.sha256()
    written = pairs = records = size = 0
    rejected: list[dict] = []
    contents: list[str] = []
    with files.create(path) as file:
        for description, image_size in zip(descriptions, sizes, strict=True):
            rejected.extend(description.rejected)
            try:
                frames, content = _frames(description, image_size, vocabulary, config)
                contents += [f"{description.image_id}:{content}"] if frames else []
            except images.BadImageError as error:
                rejected.append(rejection(description, description.split, error.reason))
                frames = []
            for frame in frames:
                file.write(frame)
                checksum.update(frame)
                size += len(frame)
            written += bool(frames)
            pairs += len(description.captions) if frames else 0
            records += len(frames)
            progress.add(listed=1, rejected=int(not frames))
        progress.flush()
    shard = Shard(
        name=posixpath.basename(path),
        listed=len(descriptions),
        images=written,
        pairs=pairs,
        records=records,
        bytes=size,
        sha256=checksum.hexdigest(),
        contents=" ".join(contents),
    )
    return Sidecar(shard, fingerprint, tuple(rejected))


def _frames(
    description: Description, size: int | str | None, vocabulary: Vocabulary, config: Config
) -> tuple[list[bytes], str]:
    """(the framed records of one image, its `content_hash` in the source); none, left out before.

    Raises:
        BadImageError: the image is missing or bad.
    """
    if not description.captions:
        return [], ""
    data = load_image(description.path, size, config)
    encoded = to_store(data, config)
    frames = [
        wire.frame(wire.to_bytes(record))
        for record in to_records(description, encoded, vocabulary, config.captions_per_record)
    ]
    return frames, manifest.content_hash(data)


def load_image(path: str | None, size: int | str | None, config: Config) -> bytes:
    """The bytes of an image in the source.

    Raises:
        BadImageError: the image is missing or bad.
        UserError: it is there and cannot be read.
    """
    if isinstance(size, int) and size > images.MAX_BYTES:
        raise images.BadImageError("too_large")
    source = datasets.source(config.dataset)
    data = source.read_image(path) if path and size is not None else None
    if data is None:
        raise images.BadImageError("missing_file")
    return data


def to_store(data: bytes, config: Config) -> bytes:
    """The bytes to store of a file's: checked as `config.verify` says, resized if asked.

    Raises:
        BadImageError: the image is bad.
    """
    images.check_header(data)
    if config.image_size:
        return images.resize(data, config.image_size)
    if config.verify == "decode":
        images.check_pixels(data)
    return data


def to_records(
    description: Description, encoded: bytes, vocabulary: Vocabulary, captions_per_record: int
) -> Iterator[CaptionedImage]:
    """One record with all captions, or (captions_per_record) records with that many each."""
    whole = CaptionedImage(
        image_id=description.image_id,
        file_name=description.file_name,
        captions=description.captions,
        caption_ids=tuple(tuple(vocabulary.encode(text)) for text in description.captions),
        encoded=encoded,
    )
    step = captions_per_record or len(whole.captions)
    for first in range(0, len(whole.captions), step):
        yield dataclasses.replace(
            whole,
            captions=whole.captions[first : first + step],
            caption_ids=whole.caption_ids[first : first + step],
        )
