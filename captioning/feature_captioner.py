"""From features to captions: the one place that searches, cuts ids at their end and makes words.

Validation, batch evaluation, report and serving all caption through it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from captioning.search_options import Features, Search
from model.caption_generator import CaptionGenerator
from model.captioner import Captioner
from model.hiding import Drops
from model.search.result import SearchResult
from records.text import detokenise
from records.vocabulary import END, PAD, START, Vocabulary

_DRAWS = 8  # of random places to hide from a word


class GeneratedCaption(NamedTuple):
    """A caption that a captioner found.

    Attributes:
        words: T words, without `<start>` and `<end>`.
        score: What the search ranks by.
        attention: [T, grid height, grid width] float32, where each word looked (of an ensemble,
            that of the first captioner that has an attention); None unless asked for, and where no
            captioner has one.
        log_probabilities: [T + 1] float32, of each word and of `<end>`, [T] where the caption was
            cut before its end; None unless asked for.
        cut: Whether the search ended before the caption did, at --max_words.
        drops: What its words lose when places are hidden from them, each [T] float32; None unless
            asked for.
    """

    words: tuple[str, ...]
    score: float
    attention: np.ndarray | None = None
    log_probabilities: np.ndarray | None = None
    cut: bool = False
    drops: Drops | None = None

    @property
    def text(self) -> str:
        """The caption as people write it: `dog 's` becomes `dog's`."""
        return detokenise(self.words)


class FeatureCaptioner:
    """Captioners that caption together, on the device that is current where it is made and called.

    Args:
        captioners: One, or an ensemble that shares its vocabulary.
        vocabulary: Their words.
        search: How to search.
    """

    def __init__(self, captioners: Sequence[Captioner], vocabulary: Vocabulary, search: Search):
        self._generator = CaptionGenerator(captioners)
        self._vocabulary = vocabulary
        self._search = search

    def refresh(self) -> None:
        """Take over the captioners' weights as they are now."""
        self._generator.refresh()

    def search(self, features: Features, seeds: tf.Tensor | None = None) -> SearchResult:
        """Search the captions of a batch.

        Args:
            features: Of each captioner, [B, L, D] of any float type.
            seeds: [B, 2] int64 for sampling, one for each image.

        Returns:
            Ids, scores and attention of N captions of each image.
        """
        return self._search.run(self._generator, features, seeds)

    def captions(
        self, result: SearchResult, *, attention: bool = False, log_probabilities: bool = False
    ) -> list[list[GeneratedCaption]]:
        """Turn what `search` returned into words.

        Args:
            result: Of a batch of B images.
            attention: Whether the captions shall carry their attention, if there is one.
            log_probabilities: Whether they shall carry the log-probabilities of their words.

        Returns:
            For each image its captions, the best first; hypotheses that do not exist (a beam found
            fewer than N) are left out.
        """
        ids, scores = result.ids.numpy(), result.score.numpy()
        nothing = np.full(scores.shape, None)
        attends = attention and self._generator.looking is not None
        looked = result.attention.numpy() if attends else nothing
        probable = result.log_probabilities.numpy() if log_probabilities else nothing
        return [
            [
                self._caption(*hypothesis)
                for hypothesis in zip(*image, strict=True)
                if np.isfinite(hypothesis[1])
            ]
            for image in zip(ids, scores, looked, probable, strict=True)
        ]

    def with_drops(
        self,
        captions: Sequence[Sequence[GeneratedCaption]],
        result: SearchResult,
        features: Features,
        seeds: np.ndarray,
    ) -> list[list[GeneratedCaption]]:
        """Hide places from the words of the best captions, as `model/hiding.py` does.

        Args:
            captions: Of a batch, by captioners with an attention; from `captions`.
            result: What they were made from.
            features: What was searched.
            seeds: [B] int; decides which places are hidden at random.

        Returns:
            The captions; the first of each image has `drops`.
        """
        ids = np.pad(result.ids[:, 0].numpy(), ((0, 0), (1, 0)), constant_values=START)
        locations = features[self._generator.looking or 0].shape[1]
        shape = (ids.shape[1] - 1, _DRAWS, locations)
        numbers = [np.random.default_rng(abs(seed)).random(shape, np.float32) for seed in seeds]
        drops = self._generator.drops(features, ids, tf.constant(np.stack(numbers)))
        return [
            [best._replace(drops=Drops(*(x[: len(best.words)] for x in of_image))), *others]
            for (best, *others), *of_image in zip(
                captions, *(x.numpy() for x in drops), strict=True
            )
        ]

    def _caption(
        self,
        ids: np.ndarray,
        score: float,
        attention: np.ndarray | None,
        log_probabilities: np.ndarray | None,
    ) -> GeneratedCaption:
        words = tuple(self._vocabulary.words_of(ids))
        if attention is not None:
            looking = self._generator.captioners[self._generator.looking or 0]
            height, width, _ = looking.encoder.spec.grid
            attention = attention[: len(words)].reshape(-1, height, width)
        if log_probabilities is not None:
            log_probabilities = log_probabilities[: np.count_nonzero(ids)]
        # What follows the end of a caption is padding.
        cut = bool(np.all(ids != PAD)) and ids[-1] != END and len(ids) == self._search.max_words
        return GeneratedCaption(words, float(score), attention, log_probabilities, cut)
