"""What every source of captioned images provides, and what sources of image files share."""

import dataclasses
from typing import Protocol

from pipeline.datasets.listing import Listing
from pipeline.datasets.options import SourceOptions
from pipeline.storage import files
from records.schema import IdSpace

# The end of an error message about a missing train split.
TRAIN_NEEDED = "the vocabulary is built from the train split; --vocabulary=FILE names another one"


@dataclasses.dataclass(frozen=True)
class ImageVersion:
    """What a source knows about an image without reading it. It changes when the image does.

    Attributes:
        n_bytes: Size of the image; None when the source does not know it.
        label: Names the version, for a source that knows more about it, or less, than the size.
    """

    n_bytes: int | None = None
    label: str = ""

    @property
    def fingerprinted(self) -> int | str:
        """The value that stands for the image in a shard's fingerprint."""
        return self.label if self.n_bytes is None else self.label or self.n_bytes


class DataSource(Protocol):
    """Where captioned images come from.

    `splits` runs once, before the job. The other methods run on the workers.

    Attributes:
        ids: The space of the image ids: "coco", "flickr", or "own" for ids that mean something
            in this source only. In a shared space the same id is the same picture.
        reads: Names of the options (`SourceOptions`) that the source reads.
    """

    ids: IdSpace
    reads: tuple[str, ...]

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if it is of this source; None if it is not.

        It looks at names and at the beginning of files only.

        Args:
            data_dir: A folder or a file.

        Returns:
            A phrase for the user, such as `a CSV with the columns image, caption`.
        """

    def splits(self, data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
        """Find the splits of the source.

        Args:
            data_dir: Where the source lies.
            need_train: Whether the train split must be present; it need not when the user passes
                a vocabulary.

        Returns:
            (names of the splits, remarks for the user).

        Raises:
            UserError: Something is missing; the message says what, and where to get it.
        """

    def read(self, data_dir: str, split: str) -> Listing:
        """List the images and captions of one split.

        Raises:
            UserError: An annotation file is missing or damaged; the message names the place.
        """

    def image_version(self, path: str) -> ImageVersion | None:
        """Return the version of the image at a listing's `path`; None when it is missing.

        Raises:
            UserError: The source cannot be asked.
        """

    def read_image(self, path: str) -> bytes | None:
        """Return the encoded image at a listing's `path`; None when it is missing.

        Raises:
            UserError: The image is present and cannot be read.
        """


class ImageFiles:
    """The half of a `DataSource` that sources share whose images are files."""

    reads: tuple[str, ...] = ()

    def __init__(self, options: SourceOptions):
        """Keep the options; nothing is read."""
        self._options = options

    def image_version(self, path: str) -> ImageVersion | None:
        """Return the size of the file at `path`; None when it is missing."""
        size = files.size(path)
        return None if size is None else ImageVersion(size)

    def read_image(self, path: str) -> bytes | None:
        """Return the content of the file at `path`; None when it is missing."""
        return files.read(path)
