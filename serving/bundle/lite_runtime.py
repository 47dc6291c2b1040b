"""A bundle's model.tflite, run by LiteRT: captions without TensorFlow."""

import os
import queue
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from cli.errors import UserError
from serving.bundle.layout import DEFAULT_SIGNATURE, LITE_MODEL, Bundle
from serving.bundle.runtime import LITERT, Caption

# Each holds its own weights as it computes with them.
_MOST_INTERPRETERS = 8


class LiteRuntime:
    """LiteRT; `runtime.Runtime` says what a runtime is.

    It has an interpreter of one thread for each core: two images on two cores take half the time
    that two threads need for one image after the other.

    Args:
        bundle: The bundle.

    Raises:
        UserError: The model cannot be loaded.
    """

    name = LITERT
    batch_sizes: tuple[int, ...] = (1,)

    def __init__(self, bundle: Bundle):
        self._bundle = bundle
        self.parallel = min(len(os.sched_getaffinity(0)), _MOST_INTERPRETERS)
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.parallel):
            self._free.put(_load(bundle.inside(LITE_MODEL)))

    def caption(self, pixels: np.ndarray) -> list[list[Caption]]:
        """Caption images, as `Runtime.caption` says."""
        signature = self._free.get()
        try:
            return [self._captions(signature(pixels=image[None])) for image in pixels]
        finally:
            self._free.put(signature)

    def _captions(self, outputs: dict[str, np.ndarray]) -> list[Caption]:
        ids, scores = outputs["ids"][0], outputs["scores"][0]
        attention = outputs["attention"][0] if self._bundle.attends else [None] * len(ids)
        captions = zip(ids.tolist(), scores.tolist(), attention, strict=True)
        return [self._caption(*caption) for caption in captions if np.isfinite(caption[1])]

    def _caption(self, ids: list[int], score: float, attention: np.ndarray | None) -> Caption:
        words = self._bundle.words
        of_words = words.ids_of_words(ids)
        return Caption(
            words.join(of_words),
            tuple(words.words[word_id] for word_id in of_words),
            score,
            None if attention is None else attention[: len(of_words)],
        )


def _load(path: str) -> Any:
    """Return the signature of an interpreter of its own, ready to be called."""
    try:
        interpreter = Interpreter(model_path=path, num_threads=1)
        return interpreter.get_signature_runner(DEFAULT_SIGNATURE)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: LiteRT cannot load it ({reason}); export it again") from None
