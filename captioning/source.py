"""Where images to caption come from: what every source gives to the captioning path."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from artifacts.run_config import DataConfig
from model.encoder import Encoder


class Part(NamedTuple):
    """Images that are captioned and saved together.

    Attributes:
        number: The place of the part in its source, from 0.
        images: How many images it has, 1 or more.
        fingerprint: That of the images.
        place: Where its source finds the images; only the source knows what this is.
    """

    number: int
    images: int
    fingerprint: str
    place: Any


class SourceImage(NamedTuple):
    """One image before it is decoded.

    Attributes:
        name: The path of its file, or its file name in the records.
        image_id: Its id, where it has one.
        encoded: A JPEG or PNG as records hold it; None to read the file `name`, or where features
            are enough.
        orientation: The EXIF orientation of `encoded`, 1 to 8; 1 is upright.
        features: [H, W, D] float16 of records that hold them, else None.
        references: The captions that people wrote, where they are known.
    """

    name: str
    image_id: int | None
    encoded: bytes | None = None
    orientation: int = 1
    features: np.ndarray | None = None
    references: tuple[str, ...] = ()


class ImageSource(Protocol):
    """A list of images, cut into parts."""

    @property
    def parts(self) -> Sequence[Part]:
        """All parts."""
        ...

    @property
    def images(self) -> int:
        """The number of images in all parts."""
        ...

    @property
    def may_reject(self) -> bool:
        """Whether an image that cannot be read is left out; else it ends the work."""
        ...

    def read(self, part: Part) -> Iterator[SourceImage]:
        """Yield the images of a part. Several threads may call this at once.

        Args:
            part: One of `parts`.

        Yields:
            The images, in order.

        Raises:
            UserError: The source is damaged.
        """
        ...

    def holds_features(self, encoder: Encoder, data: DataConfig) -> bool:
        """Tell whether the images come with the features of an encoder.

        Args:
            encoder: The encoder of a run.
            data: What that run's config says of its data.

        Returns:
            Whether to take `SourceImage.features`; else the images are decoded and encoded.

        Raises:
            UserError: The images come with the features of another encoder and without pixels.
        """
        ...
