"""One record: one image and all of its captions. The names here are the contract.

A record is a `tf.train.SequenceExample` in TFRecord framing, without compression. Its context
features describe the image; its feature lists hold one Feature for each caption.

Shape letters of the whole project: B images, N captions, T tokens, L locations, D feature depth,
U units, V vocabulary, K beams.
"""

import dataclasses
from typing import Literal

import numpy as np

SCHEMA_VERSION = 4

# Context features.
IMAGE_ID = "image/id"  # int64: the data set's own image id.
FILE_NAME = "image/file_name"  # bytes: as in the annotation file.
ENCODED = "image/encoded"  # bytes: JPEG; absent in features-only shards.
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
        encoded: The JPEG's bytes, or None in features-only shards.
        features: [height, width, D] float16, or None in image shards.
    """

    image_id: int
    file_name: str
    captions: tuple[str, ...]
    caption_ids: tuple[tuple[int, ...], ...]
    encoded: bytes | None = None
    features: np.ndarray | None = None
