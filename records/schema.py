"""One record: one image and all of its captions. The names here are the contract.

A record is a `tf.train.SequenceExample` in TFRecord framing, without compression. Its context
features describe the image; its feature lists hold one Feature for each caption.

Shape letters of the whole project: B images, N captions, T tokens, L locations, D feature depth,
U units, V vocabulary, K beams.
"""

import dataclasses
from typing import Literal

import numpy as np

SCHEMA_VERSION = 5

# Context features.
IMAGE_ID = "image/id"  # int64: the data set's own image id.
FILE_NAME = "image/file_name"  # bytes: as in the annotation file.
ENCODED = "image/encoded"  # bytes: JPEG, or PNG of 8 bits; absent in features-only shards.
ORIENTATION = "image/orientation"  # int64: the EXIF orientation of `encoded`; absent where it is 1.
FEATURES = "image/features"  # bytes: float16 [L, D], little-endian; absent in image shards.
FEATURES_SHAPE = "image/features_shape"  # int64 [3]: grid height, grid width, depth.
# Feature lists.
CAPTION_IDS = "caption/ids"  # int64 list: <start> ... <end> in vocabulary ids.
CAPTION_TEXT = "caption/text"  # bytes: as annotated, UTF-8.

SPLITS = ("train", "val", "test")

# Where image ids mean the same picture: in all of COCO, in all of Flickr, or in one data set only.
IdSpace = Literal["coco", "flickr", "own"]


@dataclasses.dataclass(frozen=True, eq=False)
class CaptionedImage:
    """What one record holds.

    Attributes:
        image_id: The data set's own image id.
        file_name: As in the annotation file.
        captions: N texts as annotated, untouched.
        caption_ids: N sequences of vocabulary ids, each `<start> ... <end>`.
        encoded: The bytes of a JPEG or PNG, or None in features-only shards.
        features: [height, width, D] float16, or None in image shards.
        orientation: The EXIF orientation of `encoded`, 1 to 8; 1 is upright.
    """

    image_id: int
    file_name: str
    captions: tuple[str, ...]
    caption_ids: tuple[tuple[int, ...], ...]
    encoded: bytes | None = None
    features: np.ndarray | None = None
    orientation: int = 1
