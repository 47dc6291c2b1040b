"""Images on their way into a shard: read, checked, resized if asked, their features computed."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.config import Config
from pipeline.datasets.source import DataSource, ImageVersion
from pipeline.job import features
from pipeline.job.describe import Description
from pixels import limits, standard
from pixels.formats import BadImageError
from pixels.standard import StandardImage
from records import hashes
from records.rejections import RejectionReason


@dataclasses.dataclass
class LoadedImage:
    """A described image and what its file gave.

    Attributes:
        description: The image as described.
        reason: Why it is left out; None when it is not, or when its description says so already.
        content_hash: `hashes.content_hash` of its bytes in the source.
        image: The image to store or to compute features from.
        features: Float16 [H, W, D].
    """

    description: Description
    reason: RejectionReason | None = None
    content_hash: str = ""
    image: StandardImage | None = None
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
            _add_features(loaded, extractor)
        yield from loaded


def _load(description: Description, version: ImageVersion | None, config: Config) -> LoadedImage:
    loaded = LoadedImage(description)
    if not description.captions:
        return loaded
    try:
        data = read_image(config.source, description.path, version)
        loaded.content_hash = hashes.content_hash(data)
        loaded.image = standard.read(
            data, shorter_side=config.image_size, decode=config.decodes_images
        )
    except BadImageError as error:
        loaded.reason = error.reason
    return loaded


def _add_features(loaded: Sequence[LoadedImage], extractor: features.Extractor) -> None:
    """Fill in `features`; reject images that TensorFlow cannot decode."""
    readable = [(each, each.image) for each in loaded if each.image is not None]
    grids = extractor([image for _, image in readable])
    for (each, _), grid in zip(readable, grids, strict=True):
        each.features = grid
        if grid is None:
            each.reason = RejectionReason.CORRUPT


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
        raise BadImageError(RejectionReason.TOO_LARGE, f"{version.n_bytes:,} bytes")
    data = source.read_image(path) if path and version else None
    if data is None:
        raise BadImageError(RejectionReason.MISSING_FILE, "no such file")
    return data
