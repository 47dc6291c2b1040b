"""The command that builds records: `python -m pipeline.build_records --runner=DirectRunner`."""

import functools
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from absl.flags import FlagValues

import pipeline.engines.beam_log  # noqa: F401  (before Beam is imported)
from cli import command, flags
from pipeline.build_flags import BuildFlags
from pipeline.engines import runner
from pipeline.prepare import prepared
from pipeline.storage import files
from records import language, leaks, manifest
from records.manifest import DatasetInfo, Split
from records.rejections import RejectionReason
from records.vocabulary import MANY_UNKNOWN, SPECIAL

_MANY_LONG = 0.05  # Share of a split's captions.


def define_flags(values: FlagValues) -> None:
    """Declare the flags of this command."""
    flags.define(BuildFlags, values)


def main(values: FlagValues, beam_args: list[str]) -> int:
    """Build records as the parsed flags say.

    Args:
        values: The flags that `define_flags` declares.
        beam_args: Beam's own options.
    """
    build_flags = flags.read(BuildFlags, values)
    if build_flags.dry_run:
        with prepared(build_flags, beam_args) as config:
            print(runner.write_request(config))
    else:
        build(build_flags, beam_args)
    return 0


def build(build_flags: BuildFlags, beam_args: Sequence[str] = ()) -> DatasetInfo:
    """Build records, print what was built, and return its manifest.

    Args:
        build_flags: What to build.
        beam_args: Beam's own options.

    Raises:
        UserError: The build failed for a reason that one line explains.
        UsageError: The flags or Beam's options are wrong.
    """
    remark = functools.partial(print, flush=True)
    with prepared(build_flags, beam_args, remark) as config:
        files.sweep(config.output_dir)
        started = time.monotonic()
        counts = runner.run(config)
        info = manifest.read_info(config.output_dir, files.open_file)
        print(summary(info, counts, time.monotonic() - started))
        if not info.flags.language:
            known = manifest.read_vocabulary(config.output_dir, files.open_file)
            words = zip(known.words, known.counts, strict=True)
            if line := language.hint({word: n for word, n in words if word not in SPECIAL}):
                print(line)
    return info


def summary(info: DatasetInfo, counts: Counter[str], seconds: float) -> str:
    """Return what was built, a line for each split, and how fast.

    Args:
        info: The manifest of what was built.
        counts: What the workers counted (`pipeline.job.reports`).
        seconds: Duration of the job.
    """
    lines = []
    for name, split in info.splits.items():
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in split.rejected.items())
        lines.append(
            f"{name}: {split.total('images'):,} images, {split.total('pairs'):,} pairs,"
            f" {split.total('bytes') / 1e6:,.1f} MB in {len(split.shards)}"
            f" {'shard' if len(split.shards) == 1 else 'shards'};"
            f" rejected: {reasons or 'none'}; {split.unknown_share:.1%} of"
            f" {split.total('words'):,} words unknown"
        )
        if split.formats.keys() - {"JPEG"}:
            formats = ", ".join(f"{n:,} {kind}" for kind, n in split.formats.items())
            lines.append(
                f"{name}: the images' files are {formats}; {split.reencoded:,} are re-encoded"
            )
        lines += _warnings(name, split, info)
        if name in info.leaks:
            n, total = info.leaks[name], split.total("images")
            lines.append(
                f"{name}: {n:,} of {total:,} images are in train too: scores of it are"
                f" {leaks.stamp(n, total)}"
            )
    images = sum(split.total("images") for split in info.splits.values()) - counts["kept_images"]
    shards = sum(len(split.shards) for split in info.splits.values())
    if counts["kept_shards"]:
        lines.append(f"{counts['kept_shards']} of {shards} shards were finished before and kept")
    lines.append(
        f"{_vocabulary_size(info)}; {images:,} images written in {seconds:.1f} s,"
        f" {images / seconds:,.0f} images/s"
    )
    return "\n".join(lines)


def _vocabulary_size(info: DatasetInfo) -> str:
    """Return how many words there are, and what --max_vocabulary has to do with it."""
    size, most = f"{info.vocabulary_size:,} words", info.flags.max_vocabulary
    if not most or info.flags.every["vocabulary"]:
        return size
    if info.vocabulary_is_full:
        return f"{size} (the {most:,} most frequent and {len(SPECIAL)} special ones)"
    return f"{size} (fewer than --max_vocabulary={most})"


def _warnings(name: str, split: Split, info: DatasetInfo) -> Iterator[str]:
    """Yield what the user should know of a split's words."""
    if split.unknown_share >= MANY_UNKNOWN:
        given, least = info.flags.every["vocabulary"], info.flags.every["min_word_count"]
        if given:
            remedy = f"--vocabulary={given} may be of other captions"
        elif info.vocabulary_is_full:
            remedy = f"raise --max_vocabulary={info.flags.max_vocabulary}"
        elif least > 1:
            remedy = f"lower --min_word_count={least}"
        else:
            remedy = "the train captions lack them"
        yield (
            f"warning: {name}: {split.unknown_share:.1%} of the words are not in the vocabulary, so"
            f" that no model can say them: {remedy}"
        )
    long = split.rejected.get(RejectionReason.LONG_CAPTION, 0)
    if long >= _MANY_LONG * (long + split.total("pairs")):
        yield (
            f"warning: {name}: {long:,} captions are left out: they have more than"
            f" --max_caption_words={info.flags.max_caption_words} words (in Chinese, Japanese or"
            " Thai: characters)"
        )


if __name__ == "__main__":
    command.run(main, define_flags, others="passed")
