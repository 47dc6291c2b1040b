"""Where the words of captions looked: a pass of its own over some images of a split.

An evaluation keeps captions and not their attention, which would be thousands of numbers a caption.
What is reported of it comes from a sample, and is computed anew here.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from artifacts import stored_features as stored
from artifacts import weights
from captioning import devices
from cli.progress import bar
from model.caption_generator import CaptionGenerator
from model.definition.attention import entropy, temporal_variance
from model.fast.frozen_encoder import FrozenEncoder
from model.search.rules import Rules
from records.manifest import DatasetInfo, read_vocabulary
from records.split_files import SplitFiles
from records.vocabulary import SPECIAL_IDS
from trainer.input import reading as records_input

_BATCH = 32


class Look(NamedTuple):
    """One image, its caption, and where each word looked when it was said."""

    image_id: int
    file_name: str
    encoded: bytes  # the image; b"" where the records hold features only
    caption: str
    words: list[str]  # T
    attention: np.ndarray  # [T, grid height, grid width] float32


def looks(
    run_dirs: Sequence[str],
    info: DatasetInfo,
    split_files: SplitFiles,
    search: Mapping[str, Any],
    images: Collection[int],
) -> Iterator[Look]:
    """Caption some images of a split again, keeping the attention; of several runs, the first's.

    By the networks that the evaluation takes (`replica.py`), so that the captions are its own.

    Call arguments:
        search: the flags of the search by name: beam_size, length_penalty and those of `Rules`.
        images: their ids.
    """
    restored = weights.restore_together(run_dirs, devices.precision(devices.devices()[0]))
    generator = CaptionGenerator([captioner for captioner, _ in restored])
    vocabulary = read_vocabulary(run_dirs[0])
    options = dict(search)
    rules = Rules(**SPECIAL_IDS, **{k: options.pop(k) for k in ("no_repeat_ngram", "min_length")})
    inputs = []
    for run_dir, captioner in zip(run_dirs, generator.captioners, strict=True):
        trained = weights.read_config(run_dir)["data"]
        chosen = stored.chosen(split_files, info, captioner.encoder, trained)
        key, load = records_input.loader(chosen, captioner.encoder.spec.size)
        precision = captioner.decoder.config.precision
        frozen = None if chosen.grid else FrozenEncoder(captioner.encoder, precision, None)
        inputs.append((key, load, frozen))
    height, width, _ = generator.captioners[0].encoder.spec.grid
    with bar(len(images), "looking", "img") as progress:
        for batch in _batches(split_files, images):
            features = []
            for key, load, encode in inputs:
                loaded = load(tf.stack([parts[key] for parts in batch]))
                grids = encode(loaded.numpy()) if encode else loaded
                features.append(tf.reshape(grids, [len(batch), -1, grids.shape[-1]]))
            said = generator.beam(features, rules, **options)
            for parts, ids, attention in zip(
                batch, said.ids[:, 0].numpy(), said.attention[:, 0].numpy(), strict=True
            ):
                words = vocabulary.words_of(ids)
                yield Look(
                    int(parts["image_id"]),
                    parts["file_name"].numpy().decode(),
                    parts["encoded"].numpy(),
                    vocabulary.decode(ids),
                    words,
                    attention[: len(words)].reshape(-1, height, width),
                )
            progress.update(len(batch))


def _batches(
    split_files: SplitFiles, images: Collection[int]
) -> Iterator[list[dict[str, tf.Tensor]]]:
    """The records of those images, parsed; of strict pairs the first of each image."""
    wanted = tf.constant(sorted(images), tf.int64)
    found = records_input.records(split_files).filter(
        lambda parts: tf.reduce_any(parts["image_id"] == wanted)
    )
    seen: set[int] = set()
    batch = []
    for parts in records_input.readable(found, split_files):
        if int(parts["image_id"]) not in seen:
            seen.add(int(parts["image_id"]))
            batch.append(parts)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class AttentionStatistics:
    """How widely attention looks and how far it moves, look by look.

    Attributes:
        images: looks added.
    """

    def __init__(self):
        self.images = 0
        self._entropy = self._variance = 0.0
        self._words = self._locations = 0

    def add(self, look: Look) -> None:
        _, height, width = look.attention.shape
        attention = look.attention.reshape(-1, height * width)  # [T, L]; T is 0 without a word
        self.images += 1
        self._words += len(look.words)
        self._locations = height * width
        self._entropy += float(tf.reduce_sum(entropy(attention)))
        real = np.ones(len(look.words), bool)
        self._variance += float(temporal_variance(attention, real))

    def as_json(self) -> dict[str, float]:
        """`entropy`, nats a word, and its `entropy_limit`; `temporal_variance`, a caption."""
        return {
            "images": self.images,
            "entropy": self._entropy / max(1, self._words),
            "entropy_limit": float(np.log(max(1, self._locations))),
            "temporal_variance": self._variance / max(1, self.images),
        }


def described(found: Mapping[str, float]) -> str:
    """`AttentionStatistics.as_json`'s result as it is printed."""
    return (
        f"attention: entropy {found['entropy']:.2f} nats a word (0: one place,"
        f" {found['entropy_limit']:.2f}: all alike), temporal variance"
        f" {found['temporal_variance']:.3f} (0: it never moves); {found['images']:,} images"
    )
