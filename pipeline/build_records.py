"""The command that builds records: `python -m pipeline.build_records --runner=DirectRunner`."""

import time
from collections import Counter

from absl import flags

import pipeline.engines.beam_log  # noqa: F401  (before Beam is imported)
from cli import command
from pipeline import config as config_lib
from pipeline.config import Config
from pipeline.datasets import scenes
from pipeline.download import archives
from pipeline.engines import runner
from pipeline.job import features
from pipeline.storage import files, lock
from records import leaks, manifest
from records.manifest import DatasetInfo


def main(values: flags.FlagValues, rest: list[str]) -> int:
    """Read the flags, run the job, say what it made. `rest`: Beam's options."""
    config, remarks = config_lib.from_flags(values, rest)
    config = features.settled(config)
    for remark in remarks:
        print(remark, flush=True)
    if config.download:
        archives.obtain(config.dataset, config.data_dir, config.download_url)
    files.make_directory(config.output_dir)
    with lock.only_job(config.output_dir):
        return _build(config)


def _build(config: Config) -> int:
    if config.dataset == "scenes":
        scenes.prepare(config.data_dir, config.scenes_images, config.scenes_seed)
    for complete in (config_lib.with_splits, features.with_encoder):
        config, remarks = complete(config)
        for remark in remarks:
            print(remark, flush=True)
    files.sweep(config.output_dir)
    started = time.monotonic()
    counts = runner.run(config)
    info = manifest.read_info(config.output_dir, files.open_file)
    print(summary(info, counts, time.monotonic() - started))
    return 0


def summary(info: DatasetInfo, counts: Counter[str], seconds: float) -> str:
    """What was built, a line a split, and how fast."""
    lines = []
    for name, split in info.splits.items():
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in split.rejected.items())
        lines.append(
            f"{name}: {split.total('images'):,} images, {split.total('pairs'):,} pairs,"
            f" {split.total('bytes') / 1e6:,.1f} MB in {len(split.shards)} shards;"
            f" rejected: {reasons or 'none'}"
        )
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
        f"{info.vocabulary_size:,} words; {images:,} images written in {seconds:.1f} s,"
        f" {images / seconds:,.0f} images/s"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main, config_lib.define_flags, others="passed")
