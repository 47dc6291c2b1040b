"""The command that builds records: `python -m pipeline.build_records --runner=DirectRunner`."""

import logging
import os
import time
from collections import Counter

from absl import flags

from pipeline import config as config_lib
from pipeline import files, graph, progress, step
from pipeline.config import Config
from pipeline.datasets import scenes
from records import command, manifest
from records.errors import UsageError
from records.manifest import DatasetInfo


def main(rest: list[str]) -> int:
    """Read the flags, run the job, say what it made. `rest`: Beam's options."""
    config, remarks = config_lib.from_flags(flags.FLAGS, rest)
    for remark in remarks:
        print(remark, flush=True)
    if config.dataset == "scenes":
        scenes.prepare(config.data_dir, config.scenes_images, config.scenes_seed)
    config, remarks = config_lib.with_splits(config)
    for remark in remarks:
        print(remark, flush=True)
    files.make_directory(config.output_dir)
    files.sweep(config.output_dir)
    started = time.monotonic()
    counts = run(config)
    info = manifest.read_info(config.output_dir, files.open_file)
    print(summary(info, counts, time.monotonic() - started))
    return 0


def run(config: Config) -> Counter[str]:
    """Run the job to its end; returns what its workers counted.

    Raises:
        UserError: the job met what one line explains; UsageError: Beam refuses its options.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    _quieten()
    with progress.shown() as (path, counts):
        try:
            pipeline = beam.Pipeline(options=PipelineOptions(list(config.beam_args)))
        except (ValueError, ImportError, AttributeError) as error:
            raise UsageError(f"Beam: {' '.join(str(error).split())}") from None
        try:
            graph.build(pipeline, config, path)
            pipeline.run().wait_until_finish()
        except Exception as error:
            known = step.user_error(error)
            if known is None:
                raise
            raise known from None
    return counts


def _quieten() -> None:
    """Beam tells of every stage and prints every worker's traceback; errors reach us anyway."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for name in ("apache_beam", "root"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


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
    images = sum(split.total("images") for split in info.splits.values())
    shards = sum(len(split.shards) for split in info.splits.values())
    if counts["kept_shards"]:
        lines.append(f"{counts['kept_shards']} of {shards} shards were finished before and kept")
    lines.append(
        f"{info.vocabulary_size:,} words; {images:,} images in {seconds:.1f} s,"
        f" {images / seconds:,.0f} images/s"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    config_lib.define_flags()
    command.run(main, others="passed")
