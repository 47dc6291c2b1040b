"""How good the model is on a split: loss, perplexity, and CIDEr of greedy captions."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import tensorflow as tf

from model.captioner import Captioner
from model.generator import CaptionGenerator
from model.search import Rules
from records.text import tokenise
from records.vocabulary import SPECIAL_IDS, Vocabulary
from trainer.features import Examples
from trainer.metrics import cider_of_tokens


class Validation(NamedTuple):
    """Scores of one pass over a split."""

    cross_entropy: float  # nats per word, unsmoothed
    cider: float  # of greedy captions, on the tokens of records/text.py: for choosing, not quoting

    def scalars(self) -> dict[str, float]:
        """Name -> value, as logged."""
        return {
            "CIDEr": self.cider,
            "cross_entropy": self.cross_entropy,
            "perplexity": math.exp(self.cross_entropy),
        }


class Validator:
    """Keeps the compiled functions from one validation to the next."""

    def __init__(self, captioner: Captioner, vocabulary: Vocabulary):
        self.vocabulary = vocabulary
        self.generator = CaptionGenerator([captioner])

        @tf.function(autograph=False, reduce_retracing=True)
        def nll(features: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            forced = captioner.forced(features, ids)
            return tf.reduce_sum(forced.nll), tf.math.count_nonzero(forced.real)

        self._nll = nll

    def __call__(self, examples: Iterable[Examples]) -> Validation:
        """Score a split.

        Call arguments:
            examples: all of its batches.
        """
        self.generator.refresh()
        total, words = 0.0, 0
        references: dict[int, list[str]] = {}
        captions: dict[int, list[str]] = {}
        for batch in examples:
            batch_nll, batch_words = self._nll(tf.constant(batch.features), tf.constant(batch.ids))
            total, words = total + float(batch_nll), words + int(batch_words)
            said = self.generator.greedy([tf.constant(batch.features)], Rules(**SPECIAL_IDS))
            captioned = said.ids[:, 0].numpy()
            for image_id, ids, texts in zip(batch.image_ids, captioned, batch.texts, strict=True):
                captions[int(image_id)] = [" ".join(self.vocabulary.words_of(ids))]
                # With strict pairs an image comes once for each of its captions.
                references.setdefault(int(image_id), []).extend(
                    " ".join(tokenise(text.decode())) for text in texts if text
                )
        return Validation(total / words, cider_of_tokens(references, captions)[0])
