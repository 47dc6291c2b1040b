"""What a bundle's model.tflite gives: its golden captions, its speed, and its scores on a split."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioning.search_options import BeamSearch
from pixels.square import square
from serving.bundle import layout
from serving.bundle.golden import Golden, GoldenCaption
from serving.bundle.layout import Bundle
from serving.bundle.runtime import LITERT, Runtime, open_runtime
from serving.exporting import score
from serving.exporting.options import ExportOptions

# How often each golden image is captioned to tell how long it takes. The shortest time counts.
_TIMES = 3


def of_lite(
    folder: str,
    run_dir: str,
    search: BeamSearch,
    options: ExportOptions,
    images: Sequence[Golden],
) -> tuple[list[Golden], dict[str, Any]]:
    """Try the LiteRT model of a bundle.

    Args:
        folder: The bundle.
        run_dir: Its run.
        search: The search that is fixed in the bundle.
        options: The flags of the export.
        images: The golden images.

    Returns:
        The golden images, with the captions of the LiteRT model if it is quantised; and what the
        card says of it.

    Raises:
        UserError: The model cannot be loaded, or the records cannot be used.
    """
    bundle = Bundle.read(folder)
    runtime = open_runtime(bundle, LITERT)
    captioned, best_seconds = [], []
    for image in images:
        pixels = square(bundle.golden_bytes(image), bundle.input_size)[None]
        captions = runtime.caption(pixels)[0]
        best_seconds.append(min(_seconds(runtime, pixels) for _ in range(_TIMES)))
        own = tuple(map(GoldenCaption.of, captions)) if bundle.quantized else None
        captioned.append(image._replace(lite=own))
    about: dict[str, Any] = {
        "bytes": Path(folder, layout.LITE_MODEL).stat().st_size,
        "milliseconds": round(1000 * float(np.median(best_seconds)), 2),
        "same_as_run": None,
        "cider": None,
        "scored": None,
    }
    if options.records_dir:
        about |= score.of_split(run_dir, options, search, runtime, bundle.input_size)
    return captioned, about


def _seconds(runtime: Runtime, pixels: np.ndarray) -> float:
    start = time.perf_counter()
    runtime.caption(pixels)
    return time.perf_counter() - start
