"""How good the model is on a split: loss, perplexity, and CIDEr of greedy captions."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from captioning.feature_captioner import FeatureCaptioner
from captioning.search_options import GreedySearch
from metrics.names import CIDER
from metrics.official import cider_of_tokens
from model.captioner import Captioner
from model.definition.attention import entropy, temporal_variance
from model.fast.tracing import any_batch
from records.text import tokenise
from records.vocabulary import Vocabulary
from trainer.input.feature_cache import Examples
from trainer.samples import SHOWN, Sample


class Validation(NamedTuple):
    """Scores of one pass over a split."""

    cross_entropy: float  # nats per word, unsmoothed
    cider: float  # of greedy captions, on the tokens of records/text.py: for choosing, not quoting

    attention_entropy: float = 0.0  # nats, mean over the words of those captions
    temporal_variance: float = 0.0  # of their attention, mean over captions; 0: it never moves
    samples: tuple[Sample, ...] = ()  # of the first few images

    def scalars(self) -> dict[str, float]:
        """Name -> value, as logged."""
        return {
            CIDER: self.cider,
            "cross_entropy": self.cross_entropy,
            "perplexity": math.exp(self.cross_entropy),
            "attention_entropy": self.attention_entropy,
            "temporal_variance": self.temporal_variance,
        }


class Validator:
    """Keeps the compiled functions from one validation to the next."""

    def __init__(self, captioner: Captioner, vocabulary: Vocabulary):
        self.captioner = FeatureCaptioner([captioner], vocabulary, GreedySearch())

        @any_batch
        def nll(features: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            forced = captioner.teacher_force(features, ids)
            return tf.reduce_sum(forced.nll), tf.math.count_nonzero(forced.real)

        self._nll = nll

    def __call__(self, examples: Iterable[Examples]) -> Validation:
        """Score a split.

        Call arguments:
            examples: all of its batches.
        """
        self.captioner.refresh()
        total, words = 0.0, 0
        entropies, variances, samples = [], [], []
        references: dict[int, list[str]] = {}
        captions: dict[int, list[str]] = {}
        for batch in examples:
            batch_nll, batch_words = self._nll(tf.constant(batch.features), tf.constant(batch.ids))
            total, words = total + float(batch_nll), words + int(batch_words)
            result = self.captioner.search([tf.constant(batch.features)])
            generated = self.captioner.captions(result, attention=True)
            ids, attention = result.ids[:, 0].numpy(), result.attention[:, 0].numpy()
            new = []  # with strict pairs an image comes once for each of its captions
            for i, image_id in enumerate(batch.image_ids):
                if int(image_id) not in captions:
                    caption = generated[i][0]
                    captions[int(image_id)] = [" ".join(caption.words)]
                    samples.append(Sample(int(image_id), caption))
                    new.append(i)
                references.setdefault(int(image_id), []).extend(
                    " ".join(tokenise(text.decode())) for text in batch.texts[i] if text
                )
            looked, real = attention[new], ids[new] != 0
            entropies.append(entropy(looked).numpy()[real])
            variances.append(temporal_variance(looked, real).numpy())
            del samples[SHOWN:]
        return Validation(
            total / words,
            cider_of_tokens(references, captions)[0],
            float(np.concatenate(entropies).mean()),
            float(np.concatenate(variances).mean()),
            tuple(samples),
        )
