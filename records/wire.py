"""Records as bytes, and TFRecord framing, without TensorFlow.

The proto classes are TensorFlow Datasets' copies of tf.train.*, which need no TensorFlow.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import google_crc32c
import numpy as np
from google.protobuf.message import DecodeError

# Private API: tensorflow-datasets 4.9.10.
from tensorflow_datasets.proto import tf_example_generated_pb2 as proto

from records import schema
from records.schema import CaptionedImage

# A longer record means a damaged length: do not try to allocate it.
MAX_RECORD_BYTES = 1 << 30


class CorruptRecordError(ValueError):
    """Bytes that are not a complete record of this schema; the message says what is wrong where."""


def to_bytes(image: CaptionedImage) -> bytes:
    """Return the record of an image, a serialised SequenceExample.

    Args:
        image: The image and its captions.

    Returns:
        The same bytes for the same image, in every process.
    """
    example = proto.SequenceExample()
    context = example.context.feature
    context[schema.IMAGE_ID].int64_list.value.append(image.image_id)
    context[schema.FILE_NAME].bytes_list.value.append(
        image.file_name.encode("utf-8", "surrogateescape")  # a name need not be UTF-8
    )
    if image.encoded is not None:
        context[schema.ENCODED].bytes_list.value.append(image.encoded)
        if image.orientation != 1:
            context[schema.ORIENTATION].int64_list.value.append(image.orientation)
    if image.features is not None:
        height, width, depth = image.features.shape
        grid = np.ascontiguousarray(image.features, dtype="<f2")
        context[schema.FEATURES].bytes_list.value.append(grid.tobytes())
        context[schema.FEATURES_SHAPE].int64_list.value.extend([height, width, depth])
    lists = example.feature_lists.feature_list
    all_ids, texts = lists[schema.CAPTION_IDS].feature, lists[schema.CAPTION_TEXT].feature
    for text, ids in zip(image.captions, image.caption_ids, strict=True):
        all_ids.add().int64_list.value.extend(ids)
        texts.add().bytes_list.value.append(text.encode())
    # Otherwise the order of map fields differs between processes.
    return example.SerializeToString(deterministic=True)


def from_bytes(record: bytes) -> CaptionedImage:
    """Return the image whose record `to_bytes` wrote.

    Args:
        record: A serialised SequenceExample.

    Raises:
        CorruptRecordError: It is no SequenceExample, or one that breaks the schema.
    """
    try:
        example = proto.SequenceExample.FromString(record)
    except DecodeError as error:
        raise CorruptRecordError(f"not a SequenceExample: {error}") from None
    context = example.context.feature
    lists = example.feature_lists.feature_list
    if len(context[schema.IMAGE_ID].int64_list.value) != 1:
        raise CorruptRecordError(f"{schema.IMAGE_ID} is not one int64")
    if len(context[schema.FILE_NAME].bytes_list.value) != 1:
        raise CorruptRecordError(f"{schema.FILE_NAME} is not one string")
    ids = tuple(tuple(f.int64_list.value) for f in lists[schema.CAPTION_IDS].feature)
    texts = [f.bytes_list.value for f in lists[schema.CAPTION_TEXT].feature]
    if len(ids) != len(texts) or any(len(text) != 1 for text in texts):
        raise CorruptRecordError(f"{len(texts)} caption texts for {len(ids)} id sequences")
    encoded = context[schema.ENCODED].bytes_list.value
    orientation = context[schema.ORIENTATION].int64_list.value or [1]
    if len(orientation) != 1 or not 1 <= orientation[0] <= 8:
        raise CorruptRecordError(f"{schema.ORIENTATION} is {list(orientation)}, expected 1 to 8")
    try:
        return CaptionedImage(
            image_id=context[schema.IMAGE_ID].int64_list.value[0],
            file_name=context[schema.FILE_NAME]
            .bytes_list.value[0]
            .decode("utf-8", "surrogateescape"),
            captions=tuple(text[0].decode() for text in texts),
            caption_ids=ids,
            encoded=encoded[0] if encoded else None,
            features=_features(context),
            orientation=orientation[0],
        )
    except UnicodeDecodeError as error:
        raise CorruptRecordError(f"text is not UTF-8: {error}") from None


def _features(context: Mapping[str, Any]) -> np.ndarray | None:
    values = context[schema.FEATURES].bytes_list.value
    if not values:
        return None
    shape = tuple(context[schema.FEATURES_SHAPE].int64_list.value)
    if len(shape) != 3 or min(shape) < 1 or 2 * np.prod(shape) != len(values[0]):
        raise CorruptRecordError(f"{schema.FEATURES}: {len(values[0])} bytes, shape {shape}")
    return np.frombuffer(values[0], dtype="<f2").reshape(shape)


def _masked_crc(data: bytes) -> bytes:
    # TFRecord rotates and offsets its CRCs, because a CRC of data that contains CRCs is weak.
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def frame(record: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a record in TFRecord framing, in three pieces so that it is not copied.

    Args:
        record: A serialised SequenceExample.

    Returns:
        The length and its CRC, the record itself, and the record's CRC.
    """
    length = struct.pack("<Q", len(record))
    return length + _masked_crc(length), record, _masked_crc(record)


class Readable(Protocol):
    """A file, as far as `read_frames` needs it."""

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, or as many as are left."""


def read_frames(file: Readable) -> Iterator[bytes]:
    """Read the records of an open TFRecord file and check their CRCs.

    Args:
        file: At its start.

    Yields:
        One serialised SequenceExample at a time.

    Raises:
        CorruptRecordError: A CRC does not match or the file ends inside a record. The message gives
            the record's number and byte offset.
    """
    number = offset = 0
    while header := file.read(12):
        place = f"record {number} at byte {offset}"
        if len(header) < 12:
            raise CorruptRecordError(f"{place}: the file ends inside the header")
        if header[8:] != _masked_crc(header[:8]):
            raise CorruptRecordError(f"{place}: the length's CRC does not match")
        (length,) = struct.unpack("<Q", header[:8])
        if length > MAX_RECORD_BYTES:
            raise CorruptRecordError(f"{place}: {length} bytes is no plausible record")
        record, crc = file.read(length), file.read(4)
        if len(record) < length or len(crc) < 4:
            raise CorruptRecordError(f"{place}: the file ends inside the record")
        if crc != _masked_crc(record):
            raise CorruptRecordError(f"{place}: the record's CRC does not match")
        yield record
        number, offset = number + 1, offset + length + 16
