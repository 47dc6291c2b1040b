"""Versions of the preprocessing: whether a run understands the pixels that are computed now."""

import functools
import sys

from cli.errors import UserError
from model.encoder import PREPROCESSING_VERSION

# Version 2 turns photographs upright, lays what is transparent on white, scales 16-bit grey, and
# decodes large JPEGs at a reduced scale. All other images kept their pixels.
_SAME_FOR_MOST_IMAGES = frozenset({1, 2})


def agree(version: int, other: int) -> bool:
    """Tell whether two versions give the same pixels, at least for most images."""
    return version == other or {version, other} <= _SAME_FOR_MOST_IMAGES


@functools.cache  # Each device restores the run; one line is enough.
def check(run_dir: str, version: int) -> None:
    """Refuse a run of unknown preprocessing; print a line on stderr for one of an earlier version.

    Args:
        run_dir: The run's folder.
        version: The version that it was trained with.

    Raises:
        UserError: The run needs other pixels.
    """
    if not agree(version, PREPROCESSING_VERSION):
        raise UserError(
            f"{run_dir}: trained with version {version} of the preprocessing, this program has"
            f" version {PREPROCESSING_VERSION}; train it again, or use it with the program that"
            " trained it"
        )
    if version != PREPROCESSING_VERSION:
        print(
            f"note: {run_dir} was trained with version {version} of the preprocessing, this program"
            f" has version {PREPROCESSING_VERSION}: turned, transparent, 16-bit and very large"
            " images look otherwise to it than in its training, all others look the same",
            file=sys.stderr,
        )
