"""The whole job as one chain. Ids and captions travel through it, image bytes never do.

splits -> describe -> group by shard -> write shards -> gather sidecars -> finish
             '-> count words -> vocabulary ---^------------------------------^
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from pipeline.config import Config
from pipeline.job import finish
from pipeline.job.describe import describe, pack, read_listing, shards_of, unpack
from pipeline.job.reports import Progress, Report
from pipeline.job.shard import write_shard
from pipeline.job.stage import Stage
from pipeline.storage import files, lock
from records import manifest, shard_files
from records.shard_files import Sidecar
from records.vocabulary import Vocabulary


def build(
    pipeline: beam.Pipeline, config: Config, report: Report | None = None
) -> beam.PCollection:
    """Add the job to `pipeline`; it leaves a finished data set in `config.output_dir`.

    Args:
        pipeline: The pipeline to add to.
        config: The job's configuration.
        report: Takes the workers' messages to the submitter; None where there is no way to.
    """
    described = (
        pipeline
        | "Splits" >> beam.Create(list(config.splits))
        | "Describe" >> beam.ParDo(Describe(config, report))
    )
    vocabulary = beam.pvalue.AsSingleton(_vocabulary(pipeline, described, config, report))
    return (
        described
        | "Group by shard" >> beam.GroupByKey()
        | "Write shards" >> beam.ParDo(WriteShard(config, report), vocabulary)
        | "Gather sidecars" >> beam.GroupByKey()
        | "Finish" >> beam.ParDo(Finish(config, report), vocabulary)
    )


def _vocabulary(
    pipeline: beam.Pipeline,
    described: beam.PCollection,
    config: Config,
    report: Report | None,
) -> beam.PCollection:
    """One `Vocabulary`: that of --vocabulary, or of the training captions that were kept."""
    if config.vocabulary:
        path = pipeline | "Vocabulary path" >> beam.Create([config.vocabulary])
        return path | "Read vocabulary" >> beam.ParDo(ReadVocabulary(config, report))
    return (
        described
        | "Count words" >> beam.CombineGlobally(CountWords())
        | "Vocabulary" >> beam.Map(_build_vocabulary, config.min_word_count)
    )


def _build_vocabulary(counted: tuple[int, Counter[str]], min_count: int) -> Vocabulary:
    captions, words = counted
    return Vocabulary.build(words, min_count, captions)


@beam.typehints.with_output_types(tuple[str, bytes])
class Describe(Stage):
    """split -> (shard name, its Descriptions packed) of every shard."""

    def work(self, split: str) -> Iterator[tuple[str, bytes]]:
        config = self._config
        listing = read_listing(config.dataset, config.data_dir, split)
        count = config.shard_count(split, len(listing.images))
        described = describe(
            listing, split, max_caption_words=config.max_caption_words, seed=config.seed
        )
        progress = Progress(self._report)
        progress.add(total=len(described))
        progress.flush()
        for index, mine in shards_of(described, count):
            yield shard_files.shard_name(split, index, count), pack(mine)


class CountWords(beam.CombineFn):
    """(shard name, pack)s -> (training captions, how often each of their words was seen)."""

    def create_accumulator(self):
        return 0, Counter()

    def add_input(self, accumulator, element):
        captions, words = accumulator
        name, packed = element
        if shard_files.parse_shard_name(name)[0] == "train":
            spoken = [text for description in unpack([packed]) for text in description.words]
            words.update(" ".join(spoken).split(" ") if spoken else ())
            captions += len(spoken)
        return captions, words

    def merge_accumulators(self, accumulators):
        total, merged = 0, Counter()
        for captions, words in accumulators:
            total += captions
            merged.update(words)
        return total, merged

    def extract_output(self, accumulator):
        return accumulator


class ReadVocabulary(Stage):
    """path -> the Vocabulary there."""

    def work(self, path: str) -> list[Vocabulary]:
        return [manifest.read_vocabulary(path, files.open_file)]


@beam.typehints.with_output_types(tuple[str, Any])
class WriteShard(Stage):
    """(shard name, its packs) -> ("", Sidecar), the same key for all."""

    def work(
        self, element: tuple[str, Iterable[bytes]], vocabulary: Vocabulary
    ) -> list[tuple[str, Sidecar]]:
        name, packs = element
        progress = Progress(self._report)
        # An engine's worker may write on when the submitter is dead.
        with lock.same_job(self._config.output_dir):
            sidecar = write_shard(name, unpack(packs), vocabulary, self._config, progress)
        progress.flush()
        return [("", sidecar)]


class Finish(Stage):
    """("", all Sidecars) -> the manifest, once it is written."""

    def work(
        self, element: tuple[str, Iterable[Sidecar]], vocabulary: Vocabulary
    ) -> list[manifest.DatasetInfo]:
        with lock.same_job(self._config.output_dir):
            return [finish.finish(list(element[1]), vocabulary, self._config)]
