"""What a run is trained on: it keeps the manifest of its records, so that leaks can be told."""

from typing import NamedTuple

from artifacts.run_folder import RunFolder
from cli import atomic_file
from cli.errors import UserError
from records import leaks
from records.manifest import READABLE_MANIFESTS, DatasetInfo

UNKNOWN = "CONTAMINATION UNKNOWN"


class Contamination(NamedTuple):
    """Why scores of a split cannot be trusted.

    Attributes:
        stamp: What stands on every output of the split.
        why: The reason in one line.
    """

    stamp: str
    why: str


def write(folder: RunFolder, info: DatasetInfo) -> None:
    """Keep the manifest of the records that a run is trained on.

    Args:
        folder: The run's folder.
        info: The manifest.

    Raises:
        OSError: The file cannot be written.
    """
    atomic_file.write(folder.provenance, info.to_bytes())


def read(folder: RunFolder) -> DatasetInfo | None:
    """Read the manifest of the records that a run is trained on.

    Args:
        folder: The run's folder.

    Returns:
        The manifest; None where the run has none that can be read.
    """
    try:
        with open(folder.provenance, "rb") as file:
            return DatasetInfo.from_bytes(
                file.read(), folder.provenance, schema_versions=READABLE_MANIFESTS
            )
    except (OSError, UserError):
        return None


def find_contamination(
    trained_on: DatasetInfo | None, info: DatasetInfo, split: str
) -> Contamination | None:
    """Find the images of a split that were trained on.

    Args:
        trained_on: The manifest of the training records; None when it is not known.
        info: The manifest of the records that hold the split.
        split: The split to score.

    Returns:
        What the outputs must say; None when no image was trained on.
    """
    if trained_on is None:
        return Contamination(UNKNOWN, "no records.json tells which images it was trained on")
    leaked = leaks.leaked(trained_on, info, split)
    if not leaked:
        return None
    n_images = info.splits[split].total("images")
    why = (
        f"{len(leaked):,} of {n_images:,} images of {split} were trained on, by their id or their"
        f" bytes: {leaks.examples(leaked)}"
    )
    return Contamination(leaks.stamp(len(leaked), n_images), why)


def refuse_contamination(
    folder: RunFolder, info: DatasetInfo, split: str, allowed: bool
) -> Contamination | None:
    """Refuse to score images that a run was trained on, unless that is allowed.

    Args:
        folder: The run's folder.
        info: The manifest of the records that hold the split.
        split: The split to score.
        allowed: Whether --allow_leak was given.

    Returns:
        As `find_contamination`.

    Raises:
        UserError: Images were trained on, and that is not allowed.
    """
    contamination = find_contamination(read(folder), info, split)
    if contamination and not allowed:
        raise UserError(
            f"{folder.path}: {contamination.why}. To score them all the same give --allow_leak:"
            f" then every output says {contamination.stamp}"
        )
    return contamination
