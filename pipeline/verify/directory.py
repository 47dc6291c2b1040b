"""Check a records directory: its files, its manifest, its sidecars and every shard."""

import posixpath
from collections import Counter
from collections.abc import Iterator

from cli import atomic_file
from cli.errors import UserError
from cli.progress import bar
from pipeline.storage import files
from pipeline.verify.shard import ShardCheck
from records import leaks, manifest, rejections, shard_files
from records.manifest import DatasetInfo
from records.rejections import Rejection
from records.shard_files import Shard, Sidecar
from records.vocabulary import Vocabulary


def problems(
    directory: str, info: DatasetInfo, vocabulary: Vocabulary, decode: bool
) -> Iterator[str]:
    """Yield everything that is wrong with a records directory, one line each.

    Args:
        directory: The records.
        info: Their manifest.
        vocabulary: Their vocabulary.
        decode: Whether to decode every image.
    """
    if (
        vocabulary.fingerprint != info.vocabulary_fingerprint
        or len(vocabulary) != info.vocabulary_size
    ):
        yield f"{manifest.VOCABULARY}: not the vocabulary that {manifest.DATASET_INFO} names"
    yield from _file_problems(directory, info)
    yield from _shard_name_problems(info)
    yield from _leak_problems(info)
    total = sum(split.total("listed") for split in info.splits.values())
    all_rejected: list[Rejection] = []
    with bar(total, "verifying", "images") as progress:
        for split_name, split in info.splits.items():
            rejected: list[Rejection] = []
            for shard in split.shards:
                yield from _sidecar_problems(directory, shard, rejected)
                check = ShardCheck(shard, vocabulary, decode, info)
                yield from check.problems(posixpath.join(directory, shard.name))
                progress.update(shard.listed)
            if Counter(line["reason"] for line in rejected) != split.rejected:
                yield (
                    f"{manifest.DATASET_INFO}: {split_name}: rejected counts differ from the"
                    " sidecars'"
                )
            if (split.formats, split.reencoded) != shard_files.total_formats(split.shards):
                yield (
                    f"{manifest.DATASET_INFO}: {split_name}: counts of formats differ from the"
                    " shards'"
                )
            all_rejected += rejected
    content = files.read(posixpath.join(directory, manifest.REJECTED))
    if content is not None and content != rejections.to_lines(all_rejected):
        yield f"{manifest.REJECTED}: not the rejections of the sidecars"


def _file_problems(directory: str, info: DatasetInfo) -> Iterator[str]:
    expected = {manifest.DATASET_INFO, manifest.VOCABULARY, manifest.REJECTED}
    for split in info.splits.values():
        for shard in split.shards:
            expected |= {shard.name, shard_files.sidecar_name(shard.name)}
    present = set(files.names(directory))
    if not files.is_local(directory):
        # A killed writer leaves a temporary file. Builds delete it once it is a day old.
        present = {name for name in present if not atomic_file.is_temporary(name)}
    for name in sorted(present - expected):
        yield f"{name}: does not belong here"
    for name in sorted(expected - present):
        yield f"{name}: is missing"


def _shard_name_problems(info: DatasetInfo) -> Iterator[str]:
    for split_name, split in info.splits.items():
        count = len(split.shards)
        expected = [shard_files.shard_name(split_name, index, count) for index in range(count)]
        if [shard.name for shard in split.shards] != expected:
            yield f"{manifest.DATASET_INFO}: {split_name}: not shards 0 to {count - 1} of {count}"


def _leak_problems(info: DatasetInfo) -> Iterator[str]:
    for split_name in info.splits:
        leaked = leaks.leaked(info, info, split_name) if split_name != "train" else {}
        listed = info.leaks.get(split_name, 0)
        if len(leaked) != listed:
            yield (
                f"{manifest.DATASET_INFO}: {split_name}: {len(leaked)} images are in train too"
                f" ({leaks.examples(leaked)}), the file says {listed}"
            )


def _sidecar_problems(directory: str, shard: Shard, rejected: list[Rejection]) -> Iterator[str]:
    """Yield what is wrong with a shard's sidecar, and add its rejections to `rejected`."""
    name = shard_files.sidecar_name(shard.name)
    content = files.read(posixpath.join(directory, name))
    if content is None:
        return  # Reported by _file_problems.
    try:
        sidecar = Sidecar.from_bytes(content, name)
    except UserError as error:
        yield str(error)
        return
    rejected += sidecar.rejected
    if sidecar.shard != shard:
        yield f"{name}: differs from {manifest.DATASET_INFO}"
