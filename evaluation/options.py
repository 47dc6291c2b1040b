"""The flags of the evaluation, beside those of the recipe and of the search."""

import dataclasses
from contextlib import AbstractContextManager

from captioning.devices import DeviceOptions
from captioning.job import JobOptions
from captioning.search_options import BeamSearch
from cli.errors import UsageError
from cli.flags import flag
from cli.process_lock import only_process
from records import language
from records.schema import SPLITS


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """What to caption and score. Every field is a flag."""

    split: str = flag("val", "Split of the records to caption and score.", choices=SPLITS)
    allow_leak: bool = flag(
        False,
        "Score images that the run was trained on, too; every output is then marked CONTAMINATED.",
    )
    images: str = flag(
        "",
        "Caption image files instead of records: folders, globs in quotes, image files, or .jsonl"
        ' lists of {"image": path}, separated by commas.',
    )
    image_info: str = flag(
        "",
        "Caption the images of this COCO image_info file and write what COCO's evaluation server"
        " takes; needs --images_dir.",
    )
    images_dir: str = flag("", "Folder that holds the images of --image_info.")
    output_dir: str = flag(
        "", "Folder for captions and scores; by default a folder in RUN_DIR/evaluation."
    )
    report: str = flag(
        "", "Folder for a report page, index.html, that any browser shows without a network."
    )
    language: str | None = flag(
        None,
        "Language of the captions, a tag such as en, zh or pt-BR: English is scored by the official"
        " metrics, others without METEOR and SPICE. By default that of the records, else en.",
    )
    n_best: int = flag(
        1,
        "Captions of each image to write to the JSON lines, 1 to --beam_size.",
        at_least=1,
    )
    encoder_batch_size: int | None = flag(
        None, "Images to encode together, 1 or more; by default what suits the device.", at_least=1
    )
    decode_batch_size: int | None = flag(
        None, "Images to search together, 1 or more; by default what suits the device.", at_least=1
    )
    shard: str = flag(
        "1/1",
        "Share of this job as i/n: caption only every n-th part; n jobs, 1/n to n/n, do all parts.",
    )
    part_images: int = flag(
        256,
        "Images in a part, 1 or more: a kill loses at most one part for each device, and no batch"
        " is larger.",
        at_least=1,
    )

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            UsageError: Two options contradict each other, or --language is no tag.
        """
        if self.language is not None:
            language.checked(self.language)
        if bool(self.image_info) != bool(self.images_dir):
            raise UsageError("--image_info and --images_dir need each other")
        if self.images and self.image_info:
            raise UsageError("--images and --image_info exclude each other: give one")
        if self.report and (self.images or self.image_info):
            raise UsageError(
                "--report shows how captions score: it needs --records_dir, not images"
            )
        if self.language and (self.images or self.image_info):
            raise UsageError(
                "--language says how captions are scored: it needs --records_dir, not images"
            )

    def job(self, search: BeamSearch, computed: DeviceOptions) -> JobOptions:
        """Return how the captioning job works.

        Args:
            search: How to search.
            computed: How devices compute.

        Returns:
            The options of the job.

        Raises:
            UsageError: --n_best is more than --beam_size, or --shard is malformed.
        """
        if self.n_best > search.beam_size:
            raise UsageError(f"--n_best={self.n_best} needs --beam_size={self.n_best} at least")
        return JobOptions(
            dataclasses.replace(search, n_best=self.n_best),
            self.encoder_batch_size,
            self.decode_batch_size,
            _parse_shard(self.shard),
            computed.caption_precision,
        )


def only_evaluation(output_dir: str, how: JobOptions) -> AbstractContextManager[None]:
    """Keep other evaluations out of a folder, but for the other shards of the same one.

    Args:
        output_dir: Where the results go.
        how: How the job works.

    Raises:
        UserError: Another evaluation writes there, or the folder cannot be written.
    """
    shared = how.shard[1] > 1
    return only_process(output_dir, "evaluating", "give another --output_dir", shared)


def _parse_shard(text: str) -> tuple[int, int]:
    """Parse `2/4` to (2, 4); raise UsageError for anything else."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UsageError(f"--shard={text}: expected i/n, from 1/n to n/n")
    return int(index), int(count)
