"""The whole job as one chain of stages. Ids and captions travel through it, image bytes never do.

splits -> describe -> group by shard -> write shards -> gather sidecars -> finish
             '-> count words -> vocabulary ---^------------------------------^
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from cli.errors import UserError
from pipeline.config import Config
from pipeline.job import finish
from pipeline.job.describe import deal, describe, pack, read_listing, unpack
from pipeline.job.reports import Progress, Report
from pipeline.job.shard import write_shard
from pipeline.job.stage import Stage
from pipeline.storage import files, lock
from records import manifest, shard_files
from records.shard_files import Sidecar
from records.vocabulary import Vocabulary

# The number of captions, and how often each of their words occurs.
WordCounts = tuple[int, Counter[str]]


def build(
    pipeline: beam.Pipeline, config: Config, report: Report | None = None
) -> beam.PCollection:
    """Add the job to `pipeline`; it leaves a finished data set in `config.output_dir`.

    Args:
        pipeline: The pipeline to add to.
        config: The job's configuration.
        report: Takes the workers' messages to the submitter; None on engines that cannot do so.

    Returns:
        One element, the manifest.
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
    """Return one `Vocabulary`: that of --vocabulary, or of the train captions that are kept."""
    if config.vocabulary:
        path = pipeline | "Vocabulary path" >> beam.Create([config.vocabulary])
        return path | "Read vocabulary" >> beam.ParDo(ReadVocabulary(config, report))
    return (
        described
        | "Count words" >> beam.CombineGlobally(CountWords())
        | "Vocabulary" >> beam.ParDo(BuildVocabulary(config, report))
    )


@beam.typehints.with_output_types(tuple[str, bytes])
class Describe(Stage):
    """Split -> (name of a shard, its packed descriptions) for every shard."""

    def work(self, split: str) -> Iterator[tuple[str, bytes]]:
        """List and describe a split, and deal its images to shards."""
        config = self._config
        listing = read_listing(config.source, config.data_dir, split)
        count = config.shard_count(split, len(listing.images))
        described = describe(
            listing, split, max_caption_words=config.max_caption_words, seed=config.seed
        )
        progress = Progress(self._report)
        progress.add(total=len(described))
        progress.flush()
        for index, descriptions in enumerate(deal(described, count, listing.in_groups)):
            yield shard_files.shard_name(split, index, count), pack(descriptions)


class CountWords(beam.CombineFn):
    """(Shard name, packed descriptions) of all shards -> `WordCounts` of the train captions."""

    def create_accumulator(self) -> WordCounts:
        """Return the counts of nothing."""
        return 0, Counter()

    def add_input(self, accumulator: WordCounts, element: tuple[str, bytes]) -> WordCounts:
        """Count the captions of a shard."""
        n_captions, words = accumulator
        name, packed = element
        if shard_files.split_of(name) == "train":
            captions = [text for description in unpack([packed]) for text in description.words]
            words.update(" ".join(captions).split(" ") if captions else ())
            n_captions += len(captions)
        return n_captions, words

    def merge_accumulators(self, accumulators: Iterable[WordCounts]) -> WordCounts:
        """Return the sums of counts."""
        total = 0
        merged: Counter[str] = Counter()
        for n_captions, words in accumulators:
            total += n_captions
            merged.update(words)
        return total, merged

    def extract_output(self, accumulator: WordCounts) -> WordCounts:
        """Return the counts."""
        return accumulator


class BuildVocabulary(Stage):
    """`WordCounts` -> the vocabulary of the train split."""

    def work(self, counts: WordCounts) -> list[Vocabulary]:
        """Build a vocabulary, and refuse one without words."""
        n_captions, words = counts
        vocabulary = Vocabulary.build(
            words,
            self._config.min_word_count,
            captions=n_captions,
            max_words=self._config.max_vocabulary,
        )
        if vocabulary.empty:
            raise UserError(self._why_empty(words))
        return [vocabulary]

    def _why_empty(self, words: Counter[str]) -> str:
        if not words:
            return (
                "train: no caption is left to learn words from: each is empty or has more than"
                f" --max_caption_words={self._config.max_caption_words} words; write captions, or"
                " raise the limit (0: no limit)"
            )
        word, count = max(words.items(), key=lambda item: item[1])
        lower = " or less" if count > 1 else ""
        return (
            f"train: no word occurs --min_word_count={self._config.min_word_count} times, the most"
            f" frequent of {len(words):,} words, {word!r}, {count:,}: every caption would be"
            f" unknown words only; give --min_word_count={count}{lower}, or more captions"
        )


class ReadVocabulary(Stage):
    """Path -> the vocabulary there."""

    def work(self, path: str) -> list[Vocabulary]:
        """Read a vocabulary."""
        return [manifest.read_vocabulary(path, files.open_file)]


@beam.typehints.with_output_types(tuple[str, Any])
class WriteShard(Stage):
    """(Name of a shard, its packed descriptions) -> ("", its sidecar): one key for all."""

    def work(
        self, element: tuple[str, Iterable[bytes]], vocabulary: Vocabulary
    ) -> list[tuple[str, Sidecar]]:
        """Write a shard."""
        name, packs = element
        progress = Progress(self._report)
        # An engine's worker may still write when the submitter is dead.
        with lock.same_job(self._config.output_dir):
            sidecar = write_shard(name, unpack(packs), vocabulary, self._config, progress)
        progress.flush()
        return [("", sidecar)]


class Finish(Stage):
    """("", all sidecars) -> the manifest, once it is written."""

    def work(
        self, element: tuple[str, Iterable[Sidecar]], vocabulary: Vocabulary
    ) -> list[manifest.DatasetInfo]:
        """Finish the data set."""
        _, sidecars = element
        with lock.same_job(self._config.output_dir):
            return [finish.finish(list(sidecars), vocabulary, self._config)]
