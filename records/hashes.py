"""The hash that tells images apart, that of captions, and the one that finds damage in a shard.

All are fast and none is safe against forgery: somebody who wants to can make two files with the
same hash. sha256 took a third of the job's time.
"""

from collections.abc import Iterable

import xxhash

from records.schema import CaptionedImage

_CAPTIONS_BITS = 128


def content_hash(image: bytes) -> str:
    """Return what stands for an image's bytes: their XXH3 of 64 bits, in 16 hex digits.

    The chance that two of a million different images have the same hash is 3 in 10^8.

    Args:
        image: The bytes of the file in the source.
    """
    return xxhash.xxh3_64_hexdigest(image)


def checksum() -> xxhash.xxh3_128:
    """Return a running checksum: `update` it with a shard's bytes, piece by piece.

    Its `hexdigest` is what the program `xxh128sum` prints for the file.
    """
    return xxhash.xxh3_128()


def captions_hash(record: CaptionedImage) -> str:
    """Return what stands for the captions of a record, in whichever order: 32 hex digits.

    Args:
        record: The record: its image's id, the captions and the ids of their words count.
    """
    return add_captions_hashes(
        xxhash.xxh3_128_hexdigest(f"{record.image_id}\t{' '.join(map(str, ids))}\t{text}".encode())
        for text, ids in zip(record.captions, record.caption_ids, strict=True)
    )


def add_captions_hashes(captions_hashes: Iterable[str]) -> str:
    """Return the hash of the captions that several hashes stand for, in whichever order.

    Args:
        captions_hashes: What `captions_hash` or this function returned.
    """
    total = sum(int(value, 16) for value in captions_hashes)
    return f"{total % (1 << _CAPTIONS_BITS):032x}"
