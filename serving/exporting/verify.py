"""Whether a bundle says of its golden images what the run says, each way that it can be run."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from cli.errors import UserError
from serving.bundle import golden
from serving.bundle.golden import Golden
from serving.bundle.runtime import LITERT, TENSORFLOW
from serving.exporting.fresh import SESSION

_WAYS = {
    SESSION: "the SavedModel as TensorFlow Serving runs it",
    TENSORFLOW: "the server with TensorFlow",
    LITERT: "the server with LiteRT",
}
_REMEDY = (
    "Try the versions of requirements.lock; --verify=false writes the bundle all the same, and it"
    " then gives other captions than the run"
)


def verify(
    folder: str,
    images: Sequence[Golden],
    origins: Mapping[str, str],
    say: Callable[[str], object],
) -> None:
    """Caption the golden images in fresh processes, one for each way to run a bundle.

    Args:
        folder: The bundle.
        images: The images, with the captions that they must get.
        origins: File of an image -> what the user knows it by.
        say: Takes a line for each way that agrees.

    Raises:
        UserError: A caption differs, or a process fails.
    """
    for way, name in _WAYS.items():
        captioned = {image.file: image for image in _fresh(way, folder, name)}
        for image in images:
            # TensorFlow Serving reads neither all formats nor EXIF; the server reads all.
            if image.file not in captioned and way == SESSION:
                continue
            problem = golden.difference(image.expected(way), captioned[image.file].captions)
            if problem:
                raise UserError(
                    f"{origins[image.file]}: {name} captions it otherwise: {problem}; no bundle was"
                    f" written. {_REMEDY}"
                )
        say(f"verified: {name} gives the captions of {len(captioned)} golden images")


def _fresh(way: str, folder: str, name: str) -> list[Golden]:
    command = [sys.executable, "-m", "serving.exporting.fresh", way, folder]
    # Without a GPU, as the golden captions were made.
    own = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=os.environ | own, check=False
    )
    lines = done.stderr.strip().splitlines() or [f"it ended with the exit code {done.returncode}"]
    if done.returncode:
        raise UserError(
            f"{name} failed: {lines[-1].removeprefix('error: ')}; no bundle was written"
        )
    try:
        return golden.parse(done.stdout)
    except ValueError as error:
        raise UserError(f"{name} gave no captions: {error}; no bundle was written") from None
