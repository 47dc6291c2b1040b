"""Where the words of captions looked: statistics of a sample, and the captions that a report shows.

An evaluation keeps captions and not their attention, which would be thousands of numbers a caption.
So some images are captioned once more, by the same path and therefore with the same captions.
Of runs without an attention nothing is measured.
"""

import dataclasses
import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from captioning.job import JobOptions, caption_at_once
from captioning.records_source import RecordsSource, SelectedImages
from captioning.replica import Wanted
from captioning.search_options import BeamSearch
from cli.progress import bar
from evaluation import faithfulness
from evaluation.faithfulness import FaithfulnessStatistics
from model.definition.attention import entropy, temporal_variance
from model.definition.decoder import first_attending
from model.hiding import Drops
from records.manifest import DatasetInfo
from scenes import report as scene_report

SAMPLE = 500  # images
NO_ATTENTION = "no attention is measured or shown: a run with --attention=none has none"
_ROUNDING = 1e-12  # A smaller temporal variance is that of float32 numbers that are equal.


class AttendedCaption(NamedTuple):
    """One image, its caption, and where each word looked.

    Attributes:
        image_id: The image's id.
        file_name: Its file name in the records.
        encoded: Its JPEG or PNG; empty where the records hold features only.
        orientation: The EXIF orientation of `encoded`, 1 to 8; 1 is upright.
        text: The caption as people write it.
        words: T words.
        attention: [T, grid height, grid width] float32; None where no run has an attention.
        drops: What hidden places cost each word; None unless asked for.
    """

    image_id: int
    file_name: str
    encoded: bytes
    orientation: int
    text: str
    words: Sequence[str]
    attention: np.ndarray | None
    drops: Drops | None = None


def survey(
    run_dirs: Sequence[str],
    records: RecordsSource,
    info: DatasetInfo,
    how: JobOptions,
    image_ids: Collection[int],
    shown: Collection[int] = (),
) -> tuple[dict[str, Any], dict[int, AttendedCaption]]:
    """Caption a sample of a split again and print what its attention is like.

    Args:
        run_dirs: The runs that captioned the split.
        records: The split.
        info: The manifest of its records.
        how: How the split was captioned.
        image_ids: The ids of all images that were captioned.
        shown: The ids of images whose attention is wanted.

    Returns:
        {"attention": ..., and for drawn scenes "pointing": ...} for metrics.json, "attention" being
        None where no run has one; the captions of `shown` by image id.
    """
    search = dataclasses.replace(how.search, n_best=1)

    def again(ids: Collection[int], *, drops: bool = False) -> Iterator[AttendedCaption]:
        return attended_captions(run_dirs, records, search, ids, how.precision, drops=drops)

    configs = [RunConfig.read(RunFolder(run_dir)).model.decoder for run_dir in run_dirs]
    if (looking := first_attending(configs)) is None:
        print(NO_ATTENTION)
        pictured = again(shown) if shown else ()
        return {"attention": None}, {caption.image_id: caption for caption in pictured}
    sample = set(random.Random(0).sample(sorted(image_ids), min(SAMPLE, len(image_ids))))
    captions = {
        # Only pictures that are shown are kept in memory.
        caption.image_id: caption if caption.image_id in shown else caption._replace(encoded=b"")
        for caption in again(sample | set(shown), drops=True)
    }
    sampled = [caption for image_id, caption in captions.items() if image_id in sample]
    results: dict[str, Any] = {"attention": _measured(sampled)}
    if len(run_dirs) > 1:
        results["attention"]["run"] = RunFolder(run_dirs[looking]).name
    print(described(results["attention"]))
    print(faithfulness.described(results["attention"]["faithfulness"]))
    if scene_report.is_drawn(info):
        results["pointing"] = scene_report.pointing(
            info, [(x.image_id, x.words, x.attention) for x in sampled if x.attention is not None]
        )
    return results, {image_id: captions[image_id] for image_id in shown}


def _measured(captions: Iterable[AttendedCaption]) -> dict[str, Any]:
    """Return the statistics of a sample for metrics.json; the captions have attention and drops."""
    statistics, faithful = AttentionStatistics(), FaithfulnessStatistics()
    for caption in captions:
        assert caption.attention is not None and caption.drops is not None
        statistics.add(caption.attention)
        faithful.add(caption.drops)
    return statistics.as_json() | {"faithfulness": faithful.as_json(statistics.locations)}


def attended_captions(
    run_dirs: Sequence[str],
    records: RecordsSource,
    search: BeamSearch,
    image_ids: Collection[int],
    precision: str | None = None,
    *,
    drops: bool = False,
) -> Iterator[AttendedCaption]:
    """Caption some images of a split, keeping the attention.

    An ensemble's attention is that of the first run that has one.

    Args:
        run_dirs: The runs that caption together.
        records: The split.
        search: How to search.
        image_ids: The ids of the images.
        precision: As in `JobOptions`.
        drops: Whether to hide places from the words, too; needs a run with an attention.

    Yields:
        The caption of each image, in the order of the records.
    """
    part_images = max(part.images for part in records.parts)
    selected = SelectedImages(records, image_ids, part_images)
    wanted = Wanted(attention=True, encoded=True, drops=drops)
    with bar(len(image_ids), "looking", "img") as progress:
        for outcome in caption_at_once(run_dirs, selected, search, wanted, precision=precision):
            caption = outcome.captions[0]
            assert outcome.image.image_id is not None
            yield AttendedCaption(
                outcome.image.image_id,
                outcome.image.name,
                outcome.image.encoded or b"",
                outcome.image.orientation,
                caption.text,
                caption.words,
                caption.attention,
                caption.drops,
            )
            progress.update()


class AttentionStatistics:
    """How widely attention looks and how far it moves, caption by caption.

    Attributes:
        images: The number of captions added.
        locations: The number of places that a word can look at; 0 before the first caption.
    """

    def __init__(self) -> None:
        self.images = self.locations = 0
        self._entropy = self._variance = 0.0
        self._words = 0

    def add(self, attention: np.ndarray) -> None:
        """Count a caption.

        Args:
            attention: [T, grid height, grid width] float32; T may be 0.
        """
        words, height, width = attention.shape
        flat = attention.reshape(words, height * width)  # [T, L]
        self.images += 1
        self._words += words
        self.locations = height * width
        self._entropy += float(tf.reduce_sum(entropy(flat)))
        self._variance += float(temporal_variance(flat, np.ones(words, bool)))

    def as_json(self) -> dict[str, Any]:
        """Return the statistics for metrics.json.

        Returns:
            `images`; `entropy` in nats a word and its limit `entropy_limit`; `temporal_variance`
            a caption.
        """
        return {
            "images": self.images,
            "entropy": self._entropy / max(1, self._words),
            "entropy_limit": float(np.log(max(1, self.locations))),
            "temporal_variance": self._variance / max(1, self.images),
        }


def described(statistics: Mapping[str, Any]) -> str:
    """Return the line that is printed of the statistics of a sample, as in metrics.json."""
    whose = f"attention of {statistics['run']}" if "run" in statistics else "attention"
    return (
        f"{whose}: entropy {statistics['entropy']:.2f} nats a word (0: one place,"
        f" {statistics['entropy_limit']:.2f}: all alike), temporal variance"
        f" {variance_text(statistics)} (0: every word looks at the same places);"
        f" {statistics['images']:,} images"
    )


def variance_text(statistics: Mapping[str, Any]) -> str:
    """Return the temporal variance for people: only an attention that does not move has 0."""
    variance = statistics["temporal_variance"]
    if variance < _ROUNDING:
        return "0"
    return f"{variance:.3f}" if variance >= 0.001 else f"{variance:.0e}"
