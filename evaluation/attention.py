"""Where the words of captions looked: statistics of a sample, and the captions that a report shows.

An evaluation keeps captions and not their attention, which would be thousands of numbers a caption.
So some images are captioned once more, by the same path and therefore with the same captions.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from captioning.job import caption_at_once
from captioning.records_source import RecordsSource, SelectedImages
from captioning.replica import Wanted
from captioning.search_options import BeamSearch
from cli.progress import bar
from model.definition.attention import entropy, temporal_variance
from records.manifest import DatasetInfo
from scenes import report as scene_report

SAMPLE = 500  # images


class AttendedCaption(NamedTuple):
    """One image, its caption, and where each word looked.

    Attributes:
        image_id: The image's id.
        file_name: Its file name in the records.
        encoded: Its JPEG or PNG; empty where the records hold features only.
        orientation: The EXIF orientation of `encoded`, 1 to 8; 1 is upright.
        text: The caption as people write it.
        words: T words.
        attention: [T, grid height, grid width] float32.
    """

    image_id: int
    file_name: str
    encoded: bytes
    orientation: int
    text: str
    words: Sequence[str]
    attention: np.ndarray


def survey(
    run_dirs: Sequence[str],
    records: RecordsSource,
    info: DatasetInfo,
    search: BeamSearch,
    image_ids: Collection[int],
    shown: Collection[int] = (),
) -> tuple[dict[str, Any], dict[int, AttendedCaption]]:
    """Caption a sample of a split again and print what its attention is like.

    Args:
        run_dirs: The runs that captioned the split.
        records: The split.
        info: The manifest of its records.
        search: How the captions were searched for.
        image_ids: The ids of all images that were captioned.
        shown: The ids of images whose attention is wanted.

    Returns:
        {"attention": ..., and for drawn scenes "pointing": ...} for metrics.json; the captions of
        `shown` by image id.
    """
    sample = set(random.Random(0).sample(sorted(image_ids), min(SAMPLE, len(image_ids))))
    statistics = AttentionStatistics()
    sampled: list[tuple[int, Sequence[str], np.ndarray]] = []
    kept: dict[int, AttendedCaption] = {}
    for caption in attended_captions(run_dirs, records, search, sample | set(shown)):
        if caption.image_id in sample:
            statistics.add(caption)
            sampled.append((caption.image_id, caption.words, caption.attention))
        if caption.image_id in shown:
            kept[caption.image_id] = caption
    results: dict[str, Any] = {"attention": statistics.as_json()}
    print(described(results["attention"]))
    if scene_report.is_drawn(info):
        results["pointing"] = scene_report.pointing(info, sampled)
    return results, kept


def attended_captions(
    run_dirs: Sequence[str],
    records: RecordsSource,
    search: BeamSearch,
    image_ids: Collection[int],
) -> Iterator[AttendedCaption]:
    """Caption some images of a split, keeping the attention; an ensemble's is the first run's.

    Args:
        run_dirs: The runs that caption together.
        records: The split.
        search: How to search.
        image_ids: The ids of the images.

    Yields:
        The caption of each image, in the order of the records.
    """
    part_images = max(part.images for part in records.parts)
    selected = SelectedImages(records, image_ids, part_images)
    wanted = Wanted(attention=True, encoded=True)
    with bar(len(image_ids), "looking", "img") as progress:
        for outcome in caption_at_once(run_dirs, selected, search, wanted):
            caption = outcome.captions[0]
            assert outcome.image.image_id is not None and caption.attention is not None
            yield AttendedCaption(
                outcome.image.image_id,
                outcome.image.name,
                outcome.image.encoded or b"",
                outcome.image.orientation,
                caption.text,
                caption.words,
                caption.attention,
            )
            progress.update()


class AttentionStatistics:
    """How widely attention looks and how far it moves, caption by caption.

    Attributes:
        images: The number of captions added.
    """

    def __init__(self) -> None:
        self.images = 0
        self._entropy = self._variance = 0.0
        self._words = self._locations = 0

    def add(self, caption: AttendedCaption) -> None:
        """Count a caption.

        Args:
            caption: A caption of T words; T may be 0.
        """
        _, height, width = caption.attention.shape
        attention = caption.attention.reshape(-1, height * width)  # [T, L]
        self.images += 1
        self._words += len(caption.words)
        self._locations = height * width
        self._entropy += float(tf.reduce_sum(entropy(attention)))
        real = np.ones(len(caption.words), bool)
        self._variance += float(temporal_variance(attention, real))

    def as_json(self) -> dict[str, float]:
        """Return the statistics for metrics.json.

        Returns:
            `images`; `entropy` in nats a word and its limit `entropy_limit`; `temporal_variance`
            a caption.
        """
        return {
            "images": self.images,
            "entropy": self._entropy / max(1, self._words),
            "entropy_limit": float(np.log(max(1, self._locations))),
            "temporal_variance": self._variance / max(1, self.images),
        }


def described(statistics: Mapping[str, float]) -> str:
    """Return the line that is printed of `AttentionStatistics.as_json`."""
    return (
        f"attention: entropy {statistics['entropy']:.2f} nats a word (0: one place,"
        f" {statistics['entropy_limit']:.2f}: all alike), temporal variance"
        f" {statistics['temporal_variance']:.3f} (0: it never moves); {statistics['images']:,}"
        " images"
    )
