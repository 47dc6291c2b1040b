"""The end of the job: from the sidecars of all shards to dataset_info.json, written last."""

import dataclasses
import posixpath
from collections import Counter
from collections.abc import Sequence

from cli.errors import UserError
from pipeline import datasets
from pipeline.config import Config
from pipeline.storage import files
from records import leaks, manifest, rejections, shard_files
from records.manifest import DatasetInfo, Preprocessing, Split
from records.schema import SPLITS
from records.shard_files import Sidecar
from records.vocabulary import Vocabulary


def finish(sidecars: Sequence[Sidecar], vocabulary: Vocabulary, config: Config) -> DatasetInfo:
    """Sweep what no longer belongs; write rejected.jsonl, vocabulary.tsv and dataset_info.json.

    Raises:
        UserError: more images were rejected than --max_rejected_fraction allows, nothing is left of
            a split, or one has images of the train split: no dataset_info.json then, the shards
            stay for the next run.
    """
    sidecars = sorted(sidecars, key=lambda s: (SPLITS.index(_split(s)), s.shard.name))
    directory = config.output_dir
    info_path = posixpath.join(directory, manifest.DATASET_INFO)
    strays = _strays(directory, {s.shard.name for s in sidecars})
    if strays:  # which a manifest may list
        files.delete(info_path)
    rejected_path = posixpath.join(directory, manifest.REJECTED)
    lines = [line for sidecar in sidecars for line in sidecar.rejected]
    files.write(rejected_path, rejections.to_lines(lines))
    splits = {name: _summed(sidecars, name) for name in config.splits}
    devices = ", ".join(sorted({sidecar.device for sidecar in sidecars if sidecar.device}))
    features = config.features
    encoder = dataclasses.replace(features.info, device=devices) if features else None
    info = DatasetInfo(
        dataset=config.dataset,
        ids=datasets.source(config.dataset).ids,
        splits=splits,
        vocabulary_size=len(vocabulary),
        vocabulary_fingerprint=vocabulary.fingerprint,
        preprocessing=Preprocessing(config.image_size),
        seed=config.seed,
        flags=config.flags,
        encoder=encoder,
    )
    try:
        for name, split in splits.items():
            _check_rejected(name, split, config.max_rejected_fraction, rejected_path)
        info = dataclasses.replace(info, leaks=_check_leaks(info, config.allow_leak))
    except UserError:
        files.delete(info_path)
        raise
    for name in strays:
        files.delete(posixpath.join(directory, name))
    files.sweep(directory)
    files.write(posixpath.join(directory, manifest.VOCABULARY), vocabulary.to_tsv().encode())
    files.write(info_path, info.to_bytes())
    return info


def _split(sidecar: Sidecar) -> str:
    return shard_files.parse_shard_name(sidecar.shard.name)[0]


def _summed(sidecars: Sequence[Sidecar], name: str) -> Split:
    mine = [sidecar for sidecar in sidecars if _split(sidecar) == name]
    reasons = Counter(line["reason"] for sidecar in mine for line in sidecar.rejected)
    return Split(tuple(sidecar.shard for sidecar in mine), dict(sorted(reasons.items())))


def _check_rejected(name: str, split: Split, allowed: float, rejected_path: str) -> None:
    listed = split.total("listed")
    left_out = listed - split.total("images")
    if left_out <= allowed * listed and left_out < listed:
        return
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in split.rejected.items())
    raise UserError(
        f"{name}: {left_out:,} of {listed:,} images were rejected ({reasons}), see {rejected_path};"
        f" allowed is --max_rejected_fraction={allowed}. Mend the images, or raise it: what is"
        " finished is kept"
    )


def _check_leaks(info: DatasetInfo, allowed: bool) -> dict[str, int]:
    """How many images of val and test lie in train too, split by split."""
    found = {name: leaks.leaked(info, info, name) for name in info.splits if name != "train"}
    found = {name: images for name, images in found.items() if images}
    if found and not allowed:
        said = "; ".join(
            f"{name}: {len(images):,} of {info.splits[name].total('images'):,} images are in train"
            f" too, by their id or their bytes: {leaks.examples(images)}"
            for name, images in found.items()
        )
        raise UserError(
            f"{said}. Take them out of one of the splits' lists, or build with --allow_leak, which"
            f" counts them in {manifest.DATASET_INFO}: what is finished is kept"
        )
    return {name: len(images) for name, images in found.items()}


def _strays(directory: str, shards: set[str]) -> list[str]:
    """Names of shards of another count or split, and of their sidecars."""
    found = ((name, name.removesuffix(".json")) for name in files.names(directory))
    return [
        name for name, shard in found if shard_files.parse_shard_name(shard) and shard not in shards
    ]
