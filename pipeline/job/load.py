"""Images on their way into a shard: read, checked, resized if asked, their features computed."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.config import Config
from pipeline.datasets.source import DataSource, ImageVersion
from pipeline.job import features, images
from pipeline.job.describe import Description
from records import hashes, limits
from records.rejections import RejectionReason


@dataclasses.dataclass
class LoadedImage:
    """A described image and what its file gave.

    Attributes:
        description: The image as described.
        reason: Why it is left out; None when it is not, or when its description says so already.
        content_hash: `hashes.content_hash` of its bytes in the source.
        encoded: The JPEG to store or to compute features from.
        features: Float16 [H, W, D].
    """

    description: Description
    reason: RejectionReason | None = None
    content_hash: str = ""
    encoded: bytes | None = None
    features: np.ndarray | None = None


def load(
    descriptions: Sequence[Description],
    versions: Sequence[ImageVersion | None],
    config: Config,
    extractor: features.Extractor | None,
) -> Iterator[LoadedImage]:
    """Yield every image in order, with at most one batch of the extractor in memory.

    Args:
        descriptions: The images.
        versions: What the source says of each image; None for one that is missing, or that its
            description leaves out.
        config: The job's configuration.
        extractor: Computes the features; None for none.

    Raises:
        UserError: An image is there but cannot be read.
    """
    batch_size = extractor.batch_size if extractor else 1
    for start in range(0, len(descriptions), batch_size):
        batch = slice(start, start + batch_size)
        loaded = [
            _load(description, version, config)
            for description, version in zip(descriptions[batch], versions[batch], strict=True)
        ]
        if extractor:
            _add_features(loaded, extractor, keep_images=config.store != "features")
        yield from loaded


def _load(description: Description, version: ImageVersion | None, config: Config) -> LoadedImage:
    loaded = LoadedImage(description)
    if not description.captions:
        return loaded
    try:
        data = read_image(config.source, description.path, version)
        loaded.content_hash = hashes.content_hash(data)
        loaded.encoded = to_store(data, config.image_size, decode=config.decodes_images)
    except images.BadImageError as error:
        loaded.reason = error.reason
    return loaded


def _add_features(
    loaded: Sequence[LoadedImage], extractor: features.Extractor, keep_images: bool
) -> None:
    """Fill in `features`; reject images that TensorFlow cannot decode."""
    encoded = [(image, image.encoded) for image in loaded if image.encoded is not None]
    grids = extractor([data for _, data in encoded])
    for (image, _), grid in zip(encoded, grids, strict=True):
        image.features = grid
        if grid is None:
            image.reason = RejectionReason.CORRUPT
        if grid is None or not keep_images:
            image.encoded = None


def read_image(source: DataSource, path: str | None, version: ImageVersion | None) -> bytes:
    """Return the bytes of an image in a source.

    Args:
        source: The source.
        path: Path of the image, as listed; None for one that is outside the image folder.
        version: What the source says of the image; None for an image that is missing.

    Raises:
        BadImageError: The image is missing or too large.
        UserError: The image is there but cannot be read.
    """
    if version and (version.n_bytes or 0) > limits.MAX_IMAGE_BYTES:
        raise images.BadImageError(RejectionReason.TOO_LARGE)
    data = source.read_image(path) if path and version else None
    if data is None:
        raise images.BadImageError(RejectionReason.MISSING_FILE)
    return data


def to_store(data: bytes, image_size: int, decode: bool) -> bytes:
    """Check an image and return the bytes to store.

    Args:
        data: The file's content.
        image_size: Pixels of the shorter side; 0 to leave the bytes as they are.
        decode: Whether to decode the image, which finds damaged pixels too.

    Raises:
        BadImageError: The image is bad.
    """
    images.check_header(data)
    if image_size:
        return images.resize(data, image_size)
    if decode:
        images.check_pixels(data)
    return data
