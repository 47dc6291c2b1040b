"""The end of the job: from the sidecars of all shards to dataset_info.json, written last."""

import dataclasses
import posixpath
from collections import Counter
from collections.abc import Sequence

from cli.errors import UserError
from pipeline.config import Config
from pipeline.datasets.options import FRACTIONS
from pipeline.storage import files
from records import leaks, manifest, rejections, shard_files
from records.manifest import DatasetInfo, Preprocessing, Split
from records.rejections import RejectionReason
from records.schema import SPLITS
from records.shard_files import Sidecar
from records.vocabulary import Vocabulary


def finish(sidecars: Sequence[Sidecar], vocabulary: Vocabulary, config: Config) -> DatasetInfo:
    """Turn finished shards into a data set.

    Write rejected.jsonl, delete files of earlier builds, write vocabulary.tsv and, at last,
    dataset_info.json.

    Args:
        sidecars: The sidecars of all shards, in any order.
        vocabulary: The vocabulary that captions were encoded with.
        config: The job's configuration.

    Returns:
        The manifest.

    Raises:
        UserError: More images were rejected than --max_rejected_fraction allows, no image of a
            split is left, every word is unknown, or a split has images of the train split. There is
            no dataset_info.json then, but the shards stay for the next run.
    """
    sidecars = sorted(sidecars, key=lambda s: (SPLITS.index(_split(s)), s.shard.name))
    directory = config.output_dir
    info_path = posixpath.join(directory, manifest.DATASET_INFO)
    stale = _stale_files(directory, {s.shard.name for s in sidecars})
    if stale:  # An earlier manifest may list them.
        files.delete(info_path)
    rejected_path = posixpath.join(directory, manifest.REJECTED)
    rejected = [line for sidecar in sidecars for line in sidecar.rejected]
    files.write(rejected_path, rejections.to_lines(rejected))
    info = _describe_data_set(sidecars, vocabulary, config)
    try:
        for name, split in info.splits.items():
            _check_rejected(name, split, config.max_rejected_fraction, rejected_path)
        _check_words(info)
        info = dataclasses.replace(info, leaks=_check_leaks(info, config))
    except UserError:
        files.delete(info_path)
        raise
    for name in stale:
        files.delete(posixpath.join(directory, name))
    files.sweep(directory)
    files.write(posixpath.join(directory, manifest.VOCABULARY), vocabulary.to_tsv().encode())
    files.write(info_path, info.to_bytes())
    return info


def _describe_data_set(
    sidecars: Sequence[Sidecar], vocabulary: Vocabulary, config: Config
) -> DatasetInfo:
    """Return the manifest, without the leaks."""
    devices = ", ".join(sorted({sidecar.device for sidecar in sidecars if sidecar.device}))
    features = config.features
    encoder = dataclasses.replace(features.info, device=devices) if features else None
    return DatasetInfo(
        dataset=config.dataset,
        ids=config.source.ids,
        splits={name: _collected(sidecars, name) for name in config.splits},
        vocabulary_size=len(vocabulary),
        vocabulary_fingerprint=vocabulary.fingerprint,
        preprocessing=Preprocessing(config.image_size),
        seed=config.seed,
        flags=config.flags,
        encoder=encoder,
    )


def _split(sidecar: Sidecar) -> str:
    return shard_files.split_of(sidecar.shard.name)


def _collected(sidecars: Sequence[Sidecar], name: str) -> Split:
    """Return the split `name`."""
    of_split = [sidecar for sidecar in sidecars if _split(sidecar) == name]
    reasons = Counter(line["reason"] for sidecar in of_split for line in sidecar.rejected)
    shards = tuple(sidecar.shard for sidecar in of_split)
    return Split(shards, dict(sorted(reasons.items())), *shard_files.total_formats(shards))


def _check_rejected(name: str, split: Split, allowed: float, rejected_path: str) -> None:
    listed = split.total("listed")
    left_out = listed - split.total("images")
    if left_out <= allowed * listed and left_out < listed:
        return
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in split.rejected.items())
    if RejectionReason.HEIF_NOT_INSTALLED in split.rejected:
        reasons += "; for HEIC run `pip install .[heif]` here and on every worker"
    raise UserError(
        f"{name}: {left_out:,} of {listed:,} images were rejected ({reasons}), see {rejected_path};"
        f" --max_rejected_fraction={allowed} allows no more. Repair the images or raise it, and run"
        " the command again: what is finished is kept"
    )


def _check_words(info: DatasetInfo) -> None:
    """Refuse captions of which the vocabulary has no word."""
    if any(split.total("unknown_words") < split.total("words") for split in info.splits.values()):
        return
    raise UserError(
        f"the vocabulary has none of the words of these captions, in {', '.join(info.splits)};"
        " --vocabulary must be one of captions in the same language"
    )


def _check_leaks(info: DatasetInfo, config: Config) -> dict[str, int]:
    """Return how many images of val and of test are in train too, for splits with such images.

    Raises:
        UserError: There are such images, and they are not allowed.
    """
    leaked = {name: leaks.leaked(info, info, name) for name in info.splits if name != "train"}
    leaked = {name: images for name, images in leaked.items() if images}
    if leaked and not config.allow_leak:
        # Ids of a user's own images are hashes, or numbers that nobody knows.
        names = {split: _file_names(config, split) for split in info.splits if info.ids == "own"}
        problems = "; ".join(
            f"{name}: {len(images):,} of {info.splits[name].total('images'):,} images are in train"
            f" too, by their id or their bytes: "
            + leaks.examples(images, names.get(name), names.get("train"))
            for name, images in leaked.items()
        )
        remedy = "Take them out of one of the splits' lists"
        if any(getattr(config.source_options, fraction) for fraction in FRACTIONS):
            remedy = "Copies of one picture have names that put them into two splits: keep one copy"
        raise UserError(
            f"{problems}. {remedy}, or build with --allow_leak,"
            f" which counts them in {manifest.DATASET_INFO}: what is finished is kept"
        )
    return {name: len(images) for name, images in leaked.items()}


def _file_names(config: Config, split: str) -> dict[int, str]:
    """Return image id -> file name of a split, as its source lists it."""
    listing = config.source.read(config.data_dir, split)
    return {image.image_id: image.file_name for image in listing.images}


def _stale_files(directory: str, shards: set[str]) -> list[str]:
    """Return names of shards that are not among `shards`, and of their sidecars."""
    return [
        name
        for name in files.names(directory)
        if shard_files.parse_shard_name(shard := name.removesuffix(".json")) and shard not in shards
    ]
