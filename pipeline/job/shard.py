"""The shard writer: load images, write them, rename the file, write its sidecar.

Image bytes enter the job here only.
"""

import dataclasses
import itertools
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cli.errors import UserError
from pipeline.config import Config
from pipeline.datasets.source import ImageVersion
from pipeline.job import features
from pipeline.job.describe import Description, rejection
from pipeline.job.load import LoadedImage, load
from pipeline.job.reports import Progress
from pipeline.storage import files
from pixels import pillow
from pixels.standard import StandardImage
from records import canonical_json, hashes, manifest, shard_files, wire
from records.rejections import Rejection, RejectionReason
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
    """Write a shard, unless a sidecar says that exactly this shard is finished.

    The sidecar is written last: without it a shard does not count.

    Args:
        name: File name of the shard.
        descriptions: The images of the shard, in any order.
        vocabulary: The vocabulary that captions are encoded with.
        config: The job's configuration.
        progress: Where images are counted.

    Returns:
        The sidecar.

    Raises:
        UserError: An image is there but cannot be read, or the shard cannot be written.
    """
    descriptions = sorted(descriptions, key=lambda description: description.place)
    source = config.source
    versions = [
        source.image_version(d.path) if d.path and d.captions else None for d in descriptions
    ]
    fingerprint = _fingerprint(descriptions, versions, vocabulary, config)
    path = posixpath.join(config.output_dir, name)
    if finished := _finished_sidecar(path, fingerprint):
        kept = finished.shard
        progress.add(kept_shards=1, kept_images=kept.images)
        progress.add(listed=kept.listed, rejected=kept.listed - kept.images)
        return finished
    # The marks of what is finished go first: the data set's, then this shard's.
    files.delete(posixpath.join(config.output_dir, manifest.DATASET_INFO))
    files.delete(shard_files.sidecar_name(path))
    extractor = features.extractor(config, config.features) if config.features else None
    loaded = load(descriptions, versions, config, extractor)
    shard, rejected = _write(path, loaded, vocabulary, config, progress)
    device = extractor.device if extractor else None
    sidecar = Sidecar(shard, fingerprint, tuple(rejected), device)
    files.write(shard_files.sidecar_name(path), sidecar.to_bytes())
    return sidecar


def _fingerprint(
    descriptions: Sequence[Description],
    image_versions: Sequence[ImageVersion | None],
    vocabulary: Vocabulary,
    config: Config,
) -> str:
    """Return the fingerprint of everything that the shard's bytes and rejections come from."""
    content = [
        [d.image_id, d.file_name, version and version.fingerprinted, d.captions, d.rejected]
        for d, version in zip(descriptions, image_versions, strict=True)
    ]
    versions = [SCHEMA_VERSION, shard_files.WRITER_VERSION]
    flags: list[Any] = [config.image_size, config.captions_per_record, config.verify]
    if config.features:
        flags += [config.store, config.features.info.fingerprinted]
    return canonical_json.fingerprint([versions, flags, vocabulary.fingerprint, content])


def _finished_sidecar(path: str, fingerprint: str) -> Sidecar | None:
    """Return the sidecar of a finished shard; None when the shard must be written."""
    sidecar_path = shard_files.sidecar_name(path)
    content = files.read(sidecar_path)
    if content is None:
        return None
    try:
        sidecar = Sidecar.from_bytes(content, sidecar_path)
    except UserError:
        return None
    valid = sidecar.fingerprint == fingerprint and files.size(path) == sidecar.shard.bytes
    return sidecar if valid and not _reads_more_now(sidecar) else None


def _reads_more_now(sidecar: Sidecar) -> bool:
    """Tell whether the plugin for HEIC was installed after a shard left such images out."""
    reasons = {line["reason"] for line in sidecar.rejected}
    return RejectionReason.HEIF_NOT_INSTALLED in reasons and pillow.reads_heic()


def _write(
    path: str,
    images: Iterable[LoadedImage],
    vocabulary: Vocabulary,
    config: Config,
    progress: Progress,
) -> tuple[Shard, list[Rejection]]:
    """Write the records of `images`; return the shard and what was left out of it."""
    checksum = hashes.checksum()
    n_listed = n_bytes = 0
    rejected: list[Rejection] = []
    stored: list[StandardImage] = []
    contents: list[str] = []
    captions: list[str] = []  # A hash for each record.
    texts: list[str] = []  # The words of each caption, with a space between two.
    with files.create(path) as file:
        for image in images:
            description, n_listed = image.description, n_listed + 1
            rejected.extend(description.rejected)
            if image.reason:
                rejected.append(rejection(description, description.split, image.reason))
            records = list(_records(image, vocabulary, config))
            for piece in itertools.chain.from_iterable(map(_frame, records)):
                file.write(piece)
                checksum.update(piece)
                n_bytes += len(piece)
            captions += map(hashes.captions_hash, records)
            if records and image.image:
                stored.append(dataclasses.replace(image.image, encoded=b""))
                texts += description.words
                contents.append(f"{description.image_id}:{image.content_hash}")
            progress.add(listed=1, rejected=int(not records))
        progress.flush()
    shard = Shard(
        name=posixpath.basename(path),
        listed=n_listed,
        images=len(contents),
        pairs=len(texts),
        records=len(captions),
        bytes=n_bytes,
        xxh128=checksum.hexdigest(),
        contents=" ".join(contents),
        formats=dict(sorted(Counter(str(image.source_format) for image in stored).items())),
        reencoded=sum(image.reencoded for image in stored),
        **_count_words(texts, vocabulary),
        captions=hashes.add_captions_hashes(captions),
    )
    return shard, rejected


def _count_words(texts: Sequence[str], vocabulary: Vocabulary) -> dict[str, int]:
    """Return what a `Shard` tells of its captions, each given as words with spaces between."""
    captions = [text.split(" ") for text in texts]
    words = list(itertools.chain.from_iterable(captions))
    return {
        "words": len(words),
        "unknown_words": vocabulary.count_unknown(words),
        "longest_caption": max(map(len, captions), default=0),
    }


def _frame(record: CaptionedImage) -> tuple[bytes, ...]:
    return wire.frame(wire.to_bytes(record))


def _records(
    loaded: LoadedImage, vocabulary: Vocabulary, config: Config
) -> Iterator[CaptionedImage]:
    """Yield the records of an image; none for an image that is left out."""
    description, image = loaded.description, loaded.image
    if loaded.reason or not image or not description.captions:
        return
    ids = tuple(tuple(vocabulary.encode_words(words.split(" "))) for words in description.words)
    step = config.captions_per_record or len(ids)
    stores_image = config.store != "features"
    for first in range(0, len(ids), step):
        yield CaptionedImage(
            image_id=description.image_id,
            file_name=description.file_name,
            captions=description.captions[first : first + step],
            caption_ids=ids[first : first + step],
            encoded=image.encoded if stores_image else None,
            features=loaded.features,
            orientation=image.orientation if stores_image else 1,
        )
