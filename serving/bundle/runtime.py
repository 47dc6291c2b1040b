"""From a square of pixels to captions, by the runtime that is installed."""

import importlib.util
from typing import NamedTuple, Protocol

import numpy as np

from cli.errors import UserError
from serving.bundle.layout import Bundle

AUTO, TENSORFLOW, LITERT = RUNTIMES = ("auto", "tensorflow", "litert")
_PACKAGES = {TENSORFLOW: ("tensorflow", "serve"), LITERT: ("ai_edge_litert", "serve-lite")}


class Caption(NamedTuple):
    """A caption of an image.

    Attributes:
        text: The caption as people write it.
        words: Its words, without `<end>`.
        score: What the search ranks by.
        attention: [words, h, w] float32, where each word looked; None where the run has no
            attention.
    """

    text: str
    words: tuple[str, ...]
    score: float
    attention: np.ndarray | None


class Runtime(Protocol):
    """A bundle's model, loaded. Several threads may use one.

    Attributes:
        name: `tensorflow` or `litert`.
        batch_sizes: The numbers of images that it computes together, rising; others are filled up.
        parallel: How many batches it computes at once.
    """

    name: str
    batch_sizes: tuple[int, ...]
    parallel: int

    def caption(self, pixels: np.ndarray) -> list[list[Caption]]:
        """Caption images.

        Args:
            pixels: [B, S, S, 3] float32 RGB in 0..255, upright; B is at most the largest batch
                size.

        Returns:
            For each image its captions, the best first.
        """
        ...


def open_runtime(bundle: Bundle, kind: str = AUTO) -> Runtime:
    """Load the model of a bundle.

    Args:
        bundle: The bundle.
        kind: `tensorflow`, `litert`, or `auto`: TensorFlow where it is installed, else LiteRT.

    Returns:
        The runtime.

    Raises:
        UserError: Its package is not installed, or the model cannot be loaded.
    """
    if kind == AUTO:
        kind = TENSORFLOW if _installed(TENSORFLOW) else LITERT
    if not _installed(kind):
        package, extra = _PACKAGES[kind]
        raise UserError(
            f"the runtime {kind} needs the package {package}, which is not installed: run"
            f" `pip install '.[{extra}]'` in the folder of this program"
        )
    if kind == TENSORFLOW:
        from serving.bundle.tensorflow_runtime import TensorflowRuntime

        return TensorflowRuntime(bundle)
    from serving.bundle.lite_runtime import LiteRuntime

    return LiteRuntime(bundle)


def _installed(kind: str) -> bool:
    return importlib.util.find_spec(_PACKAGES[kind][0]) is not None
