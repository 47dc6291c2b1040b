"""How good the model is on the val split: loss, perplexity, and BLEU-4 and CIDEr of captions."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from artifacts.recipe import Recipe
from artifacts.run_folder import RunFolder
from captioning import devices
from captioning.feature_captioner import FeatureCaptioner, GeneratedCaption
from captioning.search_options import MAX_WORDS, BeamSearch, GreedySearch, Search
from metrics.names import BLEU_4, CIDER
from metrics.official import bleu_of_tokens, cider_of_tokens
from model.captioner import Captioner
from model.definition.attention import entropy, temporal_variance
from model.fast.tracing import any_batch
from model.search.result import SearchResult
from records.manifest import DatasetInfo
from records.split_files import SplitFiles, open_split
from records.text import tokenise
from records.vocabulary import Vocabulary
from trainer.input.feature_cache import CaptionedFeatures, FeatureCache, stream
from trainer.logs.samples import SHOWN, Sample, Samples, first_pictures


class Score(NamedTuple):
    """Scores of one pass over a split."""

    cross_entropy: float  # nats per word, unsmoothed
    # Of captions, on the tokens of records/text.py: good for choosing weights, not to quote.
    cider: float
    # Of those captions' attention; None without an attention.
    attention_entropy: float | None = None  # nats, mean over words
    temporal_variance: float | None = None  # mean over captions; 0: it does not move
    samples: tuple[Sample, ...] = ()  # captions of the first few images
    bleu_4: float = 0.0  # as `cider`

    def scalars(self) -> dict[str, float]:
        """Return name -> value, as logged; without an attention nothing is said of it."""
        scalars = {
            CIDER: self.cider,
            BLEU_4: self.bleu_4,
            "cross_entropy": self.cross_entropy,
            "perplexity": math.exp(self.cross_entropy),
            "attention_entropy": self.attention_entropy,
            "temporal_variance": self.temporal_variance,
        }
        return {name: value for name, value in scalars.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Validation:
    """What a run validates with after each epoch.

    Attributes:
        score: Scores the captioner, with its weights as they are now, on the val split.
        samples: Writes captions of the first images.
        stamp: What every score says about itself: "CONTAMINATED n%"; "" for nothing.
    """

    score: Callable[[], Score]
    samples: Samples | None = None
    stamp: str = ""


def open_validation(
    recipe: Recipe,
    search: Mapping[str, Any],
    info: DatasetInfo,
    captioner: Captioner,
    vocabulary: Vocabulary,
    *,
    cached: bool,
    grid: tuple[int, int, int] | None,
    stamp: str,
) -> Validation | None:
    """Open the val split of the records.

    Args:
        recipe: The recipe: records, run, batch size.
        search: The search flags that the run keeps.
        info: The manifest of the records.
        captioner: The model to validate.
        vocabulary: Its words.
        cached: Whether features are kept in memory. Filling the cache reads the split once.
        grid: Grid of the stored features to use in place of the images; None for images.
        stamp: What every score says about itself.

    Returns:
        The validation; None when there is no val split.
    """
    if "val" not in info.splits or not info.splits["val"].total("records"):
        print("the records have no val split: the last weights are taken for the best")
        return None
    if info.splits["val"].total("images") == 1:
        print("the val split has 1 image, whose CIDEr is always 0: the lowest loss is the best")
    _, val = open_split(recipe.records_dir, "val")
    val_files = dataclasses.replace(val, grid=grid)
    validator = Validator(captioner, vocabulary, _search(recipe.validation_beam, search))
    score = build_scorer(val_files, captioner, validator, cached, recipe.batch_size)
    return Validation(score, Samples(RunFolder(recipe.run_dir), first_pictures(val)), stamp)


def _search(beam_size: int, kept: Mapping[str, Any]) -> Search:
    """Return how captions are searched: greedily, or as the run keeps it with another beam."""
    if beam_size == 1:
        return GreedySearch(kept.get("max_words", MAX_WORDS))
    return BeamSearch(**{**kept, "beam_size": beam_size})


def search_name(beam_size: int) -> str:
    """Return what messages call the search of a validation: `greedy`, `beam 3`."""
    return "greedy" if beam_size == 1 else f"beam {beam_size}"


def build_scorer(
    val: SplitFiles, captioner: Captioner, validator: "Validator", cached: bool, batch_size: int
) -> Callable[[], Score]:
    """Return a function that scores a split, whose features may be kept in memory."""
    if not cached:
        precision = validator.precision
        return lambda: validator.score(stream(val, captioner, "validating", precision))
    cache = FeatureCache.fill(val, captioner, validator.precision)
    return lambda: validator.score(cache.batches(batch_size))


class Validator:
    """Scores a captioner; keeps the compiled functions from one validation to the next.

    Args:
        captioner: The model to score.
        vocabulary: Its words.
        search: How captions are searched.

    Attributes:
        precision: In which captions are searched and images encoded, as evaluation and serving do
            here; training may use another.
    """

    def __init__(
        self,
        captioner: Captioner,
        vocabulary: Vocabulary,
        search: Search = GreedySearch(),  # noqa: B008  immutable
    ) -> None:
        trained = captioner.decoder.config
        self.precision = devices.precision(devices.first()) or trained.precision
        self._trained = self._searching = captioner
        if self.precision != trained.precision:
            config = dataclasses.replace(trained, precision=self.precision)
            self._searching = Captioner(captioner.encoder, config)
        self._captioner = FeatureCaptioner([self._searching], vocabulary, search)

        @any_batch
        def nll(features: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            forced = captioner.teacher_force(features, ids)
            return tf.reduce_sum(forced.nll), tf.math.count_nonzero(forced.real)

        self._nll = nll

    def score(self, batches: Iterable[CaptionedFeatures]) -> Score:
        """Score a split with the weights as they are now.

        Args:
            batches: All of the split.
        """
        if self._searching is not self._trained:
            pairs = zip(
                self._searching.decoder.variables, self._trained.decoder.variables, strict=True
            )
            for copy, trained in pairs:
                copy.assign(trained)
        self._captioner.refresh()
        total, words = 0.0, 0
        tally = _CaptionTally()
        for batch in batches:
            features = tf.constant(batch.features)
            batch_nll, batch_words = self._nll(features, tf.constant(batch.ids))
            total, words = total + float(batch_nll), words + int(batch_words)
            result = self._captioner.search([features])
            generated = self._captioner.captions(result, attention=True)
            tally.add(batch, result, [hypotheses[0] for hypotheses in generated])
        return tally.score(total / words)


class _CaptionTally:
    """The captions of a split with their references and attention, added by the batch."""

    def __init__(self) -> None:
        self._captions: dict[int, list[str]] = {}  # by image id
        self._references: dict[int, list[str]] = {}
        self._samples: list[Sample] = []
        self._entropies: list[np.ndarray] = []
        self._variances: list[np.ndarray] = []

    def add(
        self,
        batch: CaptionedFeatures,
        result: SearchResult,
        captions: Sequence[GeneratedCaption],
    ) -> None:
        new_rows = []  # in strict pairs an image comes once for each caption
        for row, image_id in enumerate(map(int, batch.image_ids)):
            if image_id not in self._captions:
                self._captions[image_id] = [" ".join(captions[row].words)]
                self._samples.append(Sample(image_id, captions[row]))
                new_rows.append(row)
            self._references.setdefault(image_id, []).extend(
                " ".join(tokenise(text.decode())) for text in batch.texts[row] if text
            )
        del self._samples[SHOWN:]
        if captions[0].attention is None:
            return  # The captioner has none.
        real = result.ids.numpy()[new_rows, 0] != 0  # [images, T]
        attention = result.attention.numpy()[new_rows, 0]  # [images, T, L]
        self._entropies.append(entropy(attention).numpy()[real])
        self._variances.append(temporal_variance(attention, real).numpy())

    def score(self, cross_entropy: float) -> Score:
        return Score(
            cross_entropy,
            cider_of_tokens(self._references, self._captions)[0],
            _mean(self._entropies),
            _mean(self._variances),
            tuple(self._samples),
            _bleu_4(self._references, self._captions),
        )


def _bleu_4(references: Mapping[int, list[str]], captions: Mapping[int, list[str]]) -> float:
    return float(bleu_of_tokens(references, captions)[0][BLEU_4])


def _mean(batches: Sequence[np.ndarray]) -> float | None:
    """Return the mean over all batches; None where nothing was measured."""
    return float(np.concatenate(batches).mean()) if batches else None
