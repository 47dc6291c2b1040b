"""Images on their way into a shard: read, checked, resized if asked, their features computed."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline import datasets
from pipeline.config import Config
from pipeline.datasets.source import ImageVersion
from pipeline.job import features, images
from pipeline.job.describe import Description
from records import hashes, limits
from records.rejections import RejectionReason

# Images held at a time where nothing is computed of them together.
_ONE_BY_ONE = 1


@dataclasses.dataclass
class Loaded:
    """A listed image.

    Attributes:
        reason: why it is left out; None while it is not.
        content: `content_hash` of its bytes in the source.
        encoded: the JPEG to store or to compute features of.
        features: float16 [height, width, D].
    """

    description: Description
    reason: RejectionReason | None = None
    content: str = ""
    encoded: bytes | None = None
    features: np.ndarray | None = None


def load(
    descriptions: Sequence[Description],
    versions: Sequence[ImageVersion | None],
    config: Config,
    extractor: features.Extractor | None,
) -> Iterator[Loaded]:
    """Every image in order, a batch of the extractor in memory at a time.

    Call arguments:
        versions: of each image as the source tells them, None for one that is missing or left out
            before.
        extractor: None where no features are asked for.

    Raises:
        UserError: an image cannot be read though it is there.
    """
    together = extractor.batch_size if extractor else _ONE_BY_ONE
    for start in range(0, len(descriptions), together):
        part = slice(start, start + together)
        loaded = [
            _load(description, version, config)
            for description, version in zip(descriptions[part], versions[part], strict=True)
        ]
        if extractor:
            _add_features(loaded, config, extractor)
        yield from loaded


def _load(description: Description, version: ImageVersion | None, config: Config) -> Loaded:
    loaded = Loaded(description)
    if not description.captions:
        return loaded  # `description.rejected` says why
    try:
        data = read(config.dataset, description.path, version)
        loaded.content = hashes.content_hash(data)
        loaded.encoded = to_store(data, config.image_size, decode=config.decodes_images)
    except images.BadImageError as error:
        loaded.reason = error.reason
    return loaded


def _add_features(loaded: list[Loaded], config: Config, extractor: features.Extractor) -> None:
    """Fill in `features`; what TensorFlow cannot decode is corrupt."""
    good = [image for image in loaded if image.encoded is not None]
    grids = extractor([image.encoded for image in good])
    for image, grid in zip(good, grids, strict=True):
        image.features = grid
        if grid is None:
            image.reason = RejectionReason.CORRUPT
        if grid is None or config.store == "features":
            image.encoded = None


def read(dataset: str, path: str | None, version: ImageVersion | None) -> bytes:
    """Return the bytes of an image in the source `dataset`.

    Args:
        dataset: Name of the source.
        path: Path of the image, as listed; None for one that is outside the image folder.
        version: What the source says of the image; None for an image that is missing.

    Raises:
        BadImageError: The image is missing or too large.
        UserError: The image is there and cannot be read.
    """
    if version and (version.n_bytes or 0) > limits.MAX_IMAGE_BYTES:
        raise images.BadImageError(RejectionReason.TOO_LARGE)
    source = datasets.source(dataset)
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
