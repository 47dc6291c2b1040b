"""The per-shard writer: load, write, rename, sidecar. Images enter the job here only."""

import itertools
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from cli.errors import UserError
from pipeline import datasets
from pipeline.config import Config
from pipeline.datasets.source import ImageVersion
from pipeline.job import features
from pipeline.job.describe import Description, rejection
from pipeline.job.load import Loaded, load
from pipeline.job.reports import Progress
from pipeline.storage import files
from records import canonical_json, hashes, manifest, shard_files, wire
from records.rejections import Rejection
from records.schema import SCHEMA_VERSION, CaptionedImage
from records.shard_files import Shard, Sidecar
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
    versions = [
        source.image_version(d.path) if d.path and d.captions else None for d in descriptions
    ]
    fingerprint = _fingerprint(descriptions, versions, vocabulary, config)
    path = posixpath.join(config.output_dir, name)
    finished = _finished(path, fingerprint)
    if finished:
        kept = finished.shard
        progress.add(kept_shards=1, kept_images=kept.images)
        progress.add(listed=kept.listed, rejected=kept.listed - kept.images)
        return finished
    # A data set that is about to change is none, and a shard that is about to change is not there.
    files.delete(posixpath.join(config.output_dir, manifest.DATASET_INFO))
    files.delete(shard_files.sidecar_name(path))
    sidecar = _write(path, descriptions, versions, fingerprint, vocabulary, config, progress)
    files.write(shard_files.sidecar_name(path), sidecar.to_bytes())
    return sidecar


def _fingerprint(
    descriptions: Sequence[Description],
    image_versions: Sequence[ImageVersion | None],
    vocabulary: Vocabulary,
    config: Config,
) -> str:
    """sha256 of all that the shard's bytes and rejections come from."""
    content = [
        [d.image_id, d.file_name, version and version.fingerprinted, d.captions, d.rejected]
        for d, version in zip(descriptions, image_versions, strict=True)
    ]
    versions = [SCHEMA_VERSION, shard_files.WRITER_VERSION]
    flags: list[Any] = [config.image_size, config.captions_per_record, config.verify]
    if config.features:
        flags += [config.store, config.features.info.fingerprinted]
    return canonical_json.fingerprint([versions, flags, vocabulary.fingerprint, content])


def _finished(path: str, fingerprint: str) -> Sidecar | None:
    sidecar_path = shard_files.sidecar_name(path)
    content = files.read(sidecar_path)
    if content is None:
        return None
    try:
        sidecar = Sidecar.from_bytes(content, sidecar_path)
    except UserError:
        return None
    whole = sidecar.fingerprint == fingerprint and files.size(path) == sidecar.shard.bytes
    return sidecar if whole else None


def _write(path, descriptions, versions, fingerprint, vocabulary, config, progress) -> Sidecar:
    checksum = hashes.checksum()
    written = pairs = records = size = 0
    rejected: list[Rejection] = []
    contents: list[str] = []
    extractor = features.extractor(config, config.features) if config.features else None
    with files.create(path) as file:
        for image in load(descriptions, versions, config, extractor):
            description = image.description
            rejected.extend(description.rejected)
            if image.reason:
                rejected.append(rejection(description, description.split, image.reason))
            frames = _frames(image, vocabulary, config.captions_per_record)
            for piece in itertools.chain.from_iterable(frames):
                file.write(piece)
                checksum.update(piece)
                size += len(piece)
            if frames:
                written += 1
                pairs += len(description.captions)
                records += len(frames)
                contents.append(f"{description.image_id}:{image.content}")
            progress.add(listed=1, rejected=int(not frames))
        progress.flush()
    shard = Shard(
        name=posixpath.basename(path),
        listed=len(descriptions),
        images=written,
        pairs=pairs,
        records=records,
        bytes=size,
        xxh128=checksum.hexdigest(),
        contents=" ".join(contents),
    )
    return Sidecar(shard, fingerprint, tuple(rejected), extractor and extractor.device)


def _frames(
    image: Loaded, vocabulary: Vocabulary, captions_per_record: int
) -> list[tuple[bytes, ...]]:
    """The framed records of an image; none where it is left out."""
    if image.reason or not image.description.captions:
        return []
    return [
        wire.frame(wire.to_bytes(record))
        for record in to_records(image, vocabulary, captions_per_record)
    ]


def to_records(
    image: Loaded, vocabulary: Vocabulary, captions_per_record: int
) -> Iterator[CaptionedImage]:
    """One record with all captions, or (captions_per_record) records with that many each."""
    description = image.description
    ids = tuple(tuple(vocabulary.encode_words(words.split(" "))) for words in description.words)
    step = captions_per_record or len(ids)
    for first in range(0, len(ids), step):
        yield CaptionedImage(
            image_id=description.image_id,
            file_name=description.file_name,
            captions=description.captions[first : first + step],
            caption_ids=ids[first : first + step],
            encoded=image.encoded,
            features=image.features,
        )
