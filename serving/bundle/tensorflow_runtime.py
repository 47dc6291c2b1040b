"""A bundle's SavedModel, run by TensorFlow."""

from typing import Any

import numpy as np

from cli import foreign_variables
from cli.errors import UserError
from serving.bundle.layout import BATCH_SIZES, PIXELS_SIGNATURE, SAVED_MODEL, Bundle
from serving.bundle.runtime import TENSORFLOW, Caption


class TensorflowRuntime:
    """TensorFlow; `runtime.Runtime` says what a runtime is.

    Args:
        bundle: The bundle.

    Raises:
        UserError: The model cannot be loaded.
    """

    name = TENSORFLOW
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    # One search does not keep two cores busy: a second batch at once is worth 1.6 of one.
    parallel = 2

    def __init__(self, bundle: Bundle):
        tf = _started_tensorflow()
        path = bundle.inside(SAVED_MODEL)
        try:
            self._model = tf.saved_model.load(path)  # Its functions live as long as it does.
            self._signature = self._model.signatures[PIXELS_SIGNATURE]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path}: TensorFlow cannot load it ({reason}); export it again"
            ) from None
        self._tensor = tf.constant

    def caption(self, pixels: np.ndarray) -> list[list[Caption]]:
        """Caption images, as `Runtime.caption` says."""
        images = len(pixels)
        size = next(size for size in self.batch_sizes if size >= images)
        filled = np.concatenate([pixels, np.repeat(pixels[-1:], size - images, axis=0)])
        outputs = self._signature(pixels=self._tensor(filled))
        arrays = {name: output.numpy()[:images] for name, output in outputs.items()}
        nothing = np.full(arrays["scores"].shape, None)
        rows = zip(
            *(arrays["captions"], arrays["words"], arrays["scores"]),
            arrays.get("attention", nothing),
            strict=True,
        )
        return [
            [_caption(*caption) for caption in zip(*image, strict=True) if np.isfinite(caption[2])]
            for image in rows
        ]


def _caption(
    text: bytes, padded: np.ndarray, score: np.float32, attention: np.ndarray | None
) -> Caption:
    words = tuple(word.decode() for word in padded if word)
    return Caption(
        text.decode(), words, float(score), None if attention is None else attention[: len(words)]
    )


def _started_tensorflow() -> Any:
    """Import TensorFlow as this program needs it: in float32 on every device."""
    foreign_variables.forget_tensorflows()
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    return tf
