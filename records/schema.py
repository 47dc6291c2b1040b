"""One record: one image and all of its captions. The names here are the contract.

A record is a `tf.train.SequenceExample` in TFRecord framing, without compression. Context features
describe the image, feature lists hold one Feature per caption. Shape legend of the whole project:
B images, N captions, T tokens, L locations, D feature depth, U units, V vocabulary, K beams.
"""

import dataclasses

import numpy as np

SCHEMA_VERSION = 4

IMAGE_ID = "image/id"  # int64: the data set's own image id
FILE_NAME = "image/file_name"  # bytes: as in the annotation file
ENCODED = "image/encoded"  # bytes: JPEG; absent in features-only shards
FEATURES = (
    "image/features"  # bytes: little-endian float16 [L, D], row-major; absent in image shards
)
FEATURES_SHAPE = "image/features_shape"  # int64 [3]: grid height, grid width, depth
CAPTION_IDS = "caption/ids"  # int64 list, one Feature per caption: <start> ... <end>
CAPTION_TEXT = "caption/text"  # bytes list, one Feature per caption: as annotated, UTF-8

SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class CaptionedImage:
    """What one record holds.

    Attributes:
        image_id: the data set's own image id.
        file_name: as in the annotation file.
        captions: N texts as annotated, untouched.
        caption_ids: N sequences of vocabulary ids, each `<start> ... <end>`.
        encoded: the JPEG's bytes, or None in features-only shards.
        features: [height, width, D] float16, or None in image shards.
    """

    image_id: int
    file_name: str
    captions: tuple[str, ...]
    caption_ids: tuple[tuple[int, ...], ...]
    encoded: bytes | None = None
    features: np.ndarray | None = None
