"""The command that re-reads everything a records directory says is there.

python -m pipeline.verify_records --records_dir=data/records/coco2017 [--data_dir=data/coco2017]
"""

import posixpath
from collections import Counter
from collections.abc import Iterator

from absl import flags

import pipeline.engines.beam_log  # noqa: F401  (before Beam is imported)
from cli import command
from cli.errors import UsageError, UserError
from cli.progress import bar
from pipeline.engines import beam_options
from pipeline.storage import files
from pipeline.verify import compare
from pipeline.verify.shard import Reading
from records import leaks, manifest
from records.manifest import DatasetInfo, Shard, Sidecar
from records.vocabulary import Vocabulary


def define_flags(values: flags.FlagValues) -> None:
    """Declare this command's flags with absl."""
    flags.DEFINE_string("records_dir", None, "The records to verify.", flag_values=values)
    flags.DEFINE_bool("decode", False, "Decode every image too.", flag_values=values)
    flags.DEFINE_string(
        "data_dir",
        None,
        "The source that they were built from: say which of its images and captions changed since.",
        flag_values=values,
    )


def main(values: flags.FlagValues, rest: list[str]) -> int:
    """Print what is wrong, one problem a line, and return 1; or a summary and 0.

    Call arguments:
        rest: Beam's options, for the file system.
    """
    beam_options.checked(rest)
    directory = values.records_dir
    if not directory:
        raise UsageError("--records_dir is missing: the records to verify")
    info = manifest.read_info(directory, files.open_file)
    vocabulary = manifest.read_vocabulary(directory, files.open_file)
    changes = compare.changes(directory, info, values.data_dir) if values.data_dir else iter(())
    n_problems = _print_all(problems(directory, info, vocabulary, values.decode))
    n_changes = _print_all(changes)
    if n_changes:
        print(
            f"{directory}: {n_changes:,} changes in {values.data_dir} since it was built: to build"
            " it anew, delete the shards named and run the build's command again"
        )
    if n_problems:
        print(f"{directory}: {n_problems:,} problems found")
    if n_problems or n_changes:
        return 1
    splits = ", ".join(
        f"{name} {split.total('images'):,} images {split.total('pairs'):,} pairs"
        for name, split in info.splits.items()
    )
    as_source = f", as in {values.data_dir}" if values.data_dir else ""
    print(f"{directory}: all is well{as_source}: {splits}, {len(vocabulary):,} words")
    return 0


def _print_all(lines: Iterator[str]) -> int:
    printed = 0
    for line in lines:
        print(line, flush=True)
        printed += 1
    return printed


def problems(
    directory: str, info: DatasetInfo, vocabulary: Vocabulary, decode: bool
) -> Iterator[str]:
    """Everything that is wrong with a records directory, one line each."""
    if (
        vocabulary.fingerprint != info.vocabulary_fingerprint
        or len(vocabulary) != info.vocabulary_size
    ):
        yield f"{manifest.VOCABULARY}: not the vocabulary that {manifest.DATASET_INFO} names"
    yield from _stray_files(directory, info)
    yield from _shard_sets(info)
    yield from _leaks(info)
    total = sum(split.total("listed") for split in info.splits.values())
    all_rejected: list[dict] = []
    with bar(total, "verifying", "images") as progress:
        for split, content in info.splits.items():
            rejected: list[dict] = []
            for shard in content.shards:
                yield from _sidecar(directory, shard, rejected)
                reading = Reading(shard, vocabulary, decode, info)
                yield from reading.problems(posixpath.join(directory, shard.name))
                progress.update(shard.listed)
            if Counter(line["reason"] for line in rejected) != content.rejected:
                yield f"{manifest.DATASET_INFO}: {split}: rejected counts differ from the sidecars'"
            all_rejected += rejected
    listed = files.read(posixpath.join(directory, manifest.REJECTED))
    if listed is not None and listed != manifest.rejected_lines(all_rejected):
        yield f"{manifest.REJECTED}: not the rejections of the sidecars"


def _stray_files(directory: str, info: DatasetInfo) -> Iterator[str]:
    expected = {manifest.DATASET_INFO, manifest.VOCABULARY, manifest.REJECTED}
    for split in info.splits.values():
        for shard in split.shards:
            expected |= {shard.name, manifest.sidecar_name(shard.name)}
    found = set(files.names(directory))
    if not files.is_local(directory):
        # What killed writers left there is swept by builds, a day later.
        found = {name for name in found if not name.startswith(manifest.TEMPORARY_PREFIX)}
    for name in sorted(found - expected):
        yield f"{name}: does not belong here"
    for name in sorted(expected - found):
        yield f"{name}: is missing"


def _shard_sets(info: DatasetInfo) -> Iterator[str]:
    for name, split in info.splits.items():
        count = len(split.shards)
        expected = [manifest.shard_name(name, index, count) for index in range(count)]
        if [shard.name for shard in split.shards] != expected:
            yield f"{manifest.DATASET_INFO}: {name}: not shards 0 to {count - 1} of {count}"


def _leaks(info: DatasetInfo) -> Iterator[str]:
    for name in info.splits:
        found = leaks.leaked(info, info, name) if name != "train" else {}
        if len(found) != info.leaks.get(name, 0):
            yield (
                f"{manifest.DATASET_INFO}: {name}: {len(found)} images are in train too"
                f" ({leaks.examples(found)}), it says {info.leaks.get(name, 0)}"
            )


def _sidecar(directory: str, shard: Shard, rejected: list[dict]) -> Iterator[str]:
    name = manifest.sidecar_name(shard.name)
    content = files.read(posixpath.join(directory, name))
    if content is None:
        return  # told as missing
    try:
        sidecar = Sidecar.from_bytes(content, name)
    except UserError as error:
        yield str(error)
        return
    rejected += sidecar.rejected
    if sidecar.shard != shard:
        yield f"{name}: differs from {manifest.DATASET_INFO}"


if __name__ == "__main__":
    command.run(main, define_flags, others="passed")
