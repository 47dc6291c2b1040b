"""Re-read and check everything in a records directory.

python -m pipeline.verify_records --records_dir=data/records/coco2017 [--data_dir=data/coco2017]
"""

import dataclasses
from collections.abc import Iterable

from absl.flags import FlagValues

import pipeline.engines.beam_log  # noqa: F401  (before Beam is imported)
from cli import command, flags
from cli.errors import UsageError
from cli.flags import flag
from pipeline.engines import beam_options
from pipeline.storage import files
from pipeline.verify import compare, directory
from records import manifest


@dataclasses.dataclass(frozen=True)
class VerifyFlags:
    """What to verify. Every field is a flag."""

    records_dir: str = flag("", "Folder of the records to verify.")
    decode: bool = flag(False, "Decode every image, not only check its header.")
    data_dir: str = flag(
        "",
        "Folder of the source that the records were built from: also report which of its images"
        " and captions have changed since.",
    )


def define_flags(values: FlagValues) -> None:
    """Declare the flags of this command."""
    flags.define(VerifyFlags, values)


def main(values: FlagValues, rest: list[str]) -> int:
    """Print each problem on a line, or a summary if there is none.

    Args:
        values: The parsed flags of this command.
        rest: Beam's options, for the file system.

    Returns:
        The exit code: 0 when all is well, else 1.
    """
    beam_options.checked(rest)
    options = flags.read(VerifyFlags, values)
    records_dir, data_dir = options.records_dir, options.data_dir
    if not records_dir:
        raise UsageError("--records_dir is missing: the folder of the records to verify")
    info = manifest.read_info(records_dir, files.open_file)
    vocabulary = manifest.read_vocabulary(records_dir, files.open_file)
    # A missing source is an error at once, not after the long reading of the records.
    changes = compare.changes(records_dir, info, data_dir) if data_dir else iter(())
    n_problems = _print_all(directory.problems(records_dir, info, vocabulary, options.decode))
    n_changes = _print_all(changes)
    if n_changes:
        print(
            f"{records_dir}: {n_changes:,} {'change' if n_changes == 1 else 'changes'} in"
            f" {data_dir} since it was built; to update it, run the build command again. It keeps"
            " a shard whose files have other bytes but the same sizes: delete such a shard first"
        )
    if n_problems:
        print(f"{records_dir}: {n_problems:,} {'problem' if n_problems == 1 else 'problems'} found")
    if n_problems or n_changes:
        return 1
    splits = ", ".join(
        f"{name} {split.total('images'):,} images {split.total('pairs'):,} pairs"
        for name, split in info.splits.items()
    )
    as_source = f", as in {data_dir}" if data_dir else ""
    print(f"{records_dir}: all is well{as_source}: {splits}, {len(vocabulary):,} words")
    return 0


def _print_all(lines: Iterable[str]) -> int:
    """Print the lines as they come and return how many there were."""
    n_lines = 0
    for line in lines:
        print(line, flush=True)
        n_lines += 1
    return n_lines


if __name__ == "__main__":
    command.run(main, define_flags, others="passed")
