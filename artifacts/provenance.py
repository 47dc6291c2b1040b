"""What a run is trained on: it keeps the manifest of its records, so that leaks can be told."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from artifacts.run_config import InitialWeights, RunConfig
from artifacts.run_folder import RunFolder
from artifacts.weights_file import DamagedError
from cli import atomic_file
from cli.errors import UserError
from records import leaks
from records.canonical_json import to_json
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


class TrainedOn(NamedTuple):
    """Images that weights were trained on.

    Attributes:
        info: The manifest of their records.
        max_images: How many of the first images of its train split they are; 0 for all.
    """

    info: DatasetInfo
    max_images: int = 0


def write(folder: RunFolder, info: DatasetInfo) -> str:
    """Keep the manifest of the records that a run is trained on.

    Args:
        folder: The run's folder.
        info: The manifest.

    Returns:
        The fingerprint of the file, for config.json.

    Raises:
        OSError: The file cannot be written.
    """
    return _write(folder.provenance, info.to_bytes())


def write_initial(
    folder: RunFolder, initial: InitialWeights, trained_on: Sequence[TrainedOn]
) -> InitialWeights:
    """Keep the manifests of the images that the initial weights of a run were trained on.

    Args:
        folder: The run's folder.
        initial: What config.json says of the weights so far.
        trained_on: The images.

    Returns:
        What config.json says of the weights, with the file's fingerprint.

    Raises:
        OSError: The file cannot be written.
    """
    manifests = [json.loads(images.info.to_bytes()) for images in trained_on]
    return dataclasses.replace(
        initial,
        records_fingerprint=_write(folder.initial_provenance, to_json(manifests)),
        max_train_images=tuple(images.max_images for images in trained_on),
    )


def read(folder: RunFolder) -> DatasetInfo | None:
    """Read the manifest of the records that a run is trained on.

    Args:
        folder: The run's folder.

    Returns:
        The manifest; None where the run has none.

    Raises:
        UserError: The file is not the one that the run was started with.
    """
    content = _read(folder.provenance, RunConfig.read(folder).data.records_fingerprint)
    if content is None:
        return None
    return _manifest(content, folder.provenance)


def read_all(folder: RunFolder) -> list[TrainedOn] | None:
    """Read which images a run's weights were trained on.

    Args:
        folder: The run's folder.

    Returns:
        The run's own, then those of the run whose weights it began with. None where a manifest is
        missing.

    Raises:
        UserError: A file is not the one that the run was started with.
    """
    info, config = read(folder), RunConfig.read(folder)
    if info is None:
        return None
    # Runs of earlier versions have no such flag: they trained on all images.
    own, initial = TrainedOn(info, config.training.get("max_train_images", 0)), config.initial
    if initial is None:
        return [own]
    where = folder.initial_provenance
    content = _read(where, initial.records_fingerprint)
    if content is None:
        return None
    infos = [_manifest(to_json(value), where) for value in json.loads(content)]
    max_images = initial.max_train_images or [0] * len(infos)
    return [own, *map(TrainedOn, infos, max_images)]


def _manifest(content: bytes, where: str) -> DatasetInfo:
    return DatasetInfo.from_bytes(content, where, schema_versions=READABLE_MANIFESTS)


def _write(path: str, content: bytes) -> str:
    atomic_file.write(path, content)
    return hashlib.sha256(content).hexdigest()


def _read(path: str, fingerprint: str) -> bytes | None:
    """Read a file whose fingerprint is known; "" in runs of earlier versions. None: no file."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if fingerprint not in ("", hashlib.sha256(content).hexdigest()):
        raise DamagedError(
            f"{path}: not the manifest that the run was started with: it was edited, or is that of"
            " another run; put the right one back"
        )
    return content


def find_contamination(
    trained_on: Sequence[TrainedOn] | None, info: DatasetInfo, split: str
) -> Contamination | None:
    """Find the images of a split that were trained on.

    Args:
        trained_on: All images that were trained on; None when some are not known.
        info: The manifest of the records that hold the split.
        split: The split to score.

    Returns:
        What the outputs must say; None when no image was trained on.
    """
    if trained_on is None:
        return Contamination(UNKNOWN, "no records.json tells which images it was trained on")
    leaked: dict[int, int] = {}
    for train, max_images in trained_on:
        leaked = leaks.leaked(train, info, split, max_images) | leaked
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
    contamination = find_contamination(read_all(folder), info, split)
    if contamination and not allowed:
        raise UserError(
            f"{folder.path}: {contamination.why}. To score them all the same give --allow_leak:"
            f" then every output says {contamination.stamp}"
        )
    return contamination
