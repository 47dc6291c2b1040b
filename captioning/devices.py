"""Where to caption, in which precision, and how many images at once."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf

from cli import processor
from cli.flags import flag
from model.definition.precision import PRECISIONS

# What the records job encodes at once on CPUs, and what the search was measured with.
CPU_ENCODER_BATCH, CPU_SEARCH_BATCH = 16, 64
_SMALLEST = 8
_GAIN = 1.1  # the factor of images/s for which a batch twice as large is worth its memory
_SECONDS = 0.5  # how long each size is timed


@dataclasses.dataclass(frozen=True)
class DeviceOptions:
    """How devices compute captions. Every field is a flag.

    Its name is not `precision`: the flagfile of a training gives that to every command.
    """

    caption_precision: str | None = flag(
        None,
        "Number format of the inputs of matrix products while captioning, whatever the training's"
        " --precision: by default bfloat16 on a GPU, and on a CPU that of the training, or float32"
        " where the device only emulates bfloat16. float32 gives the same captions in any batch.",
        choices=PRECISIONS,
    )


# What who gives another --precision than the training's may want.
REMEDIES = {"precision": "; --caption_precision is the precision of captioning"}


def devices() -> list[str]:
    """Return the names of all GPUs; without one, those of all logical CPUs."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    return _names()


def first() -> str:
    """Return the first of `devices`, also where TensorFlow has begun to use them."""
    return _names()[0]


def _names() -> list[str]:
    return [
        device.name
        for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    ]


def on_gpu(device: str) -> bool:
    """Tell whether a device of `devices` is a GPU."""
    return ":GPU:" in device


def multiplies_bfloat16(device: str) -> bool:
    """Tell whether a device multiplies bfloat16; others only emulate it.

    GPUs do from compute capability 8.0 on.
    """
    if not on_gpu(device):
        return processor.multiplies_bfloat16()
    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return details.get("compute_capability", (8, 0)) >= (8, 0)


def precision(device: str, chosen: str | None = None) -> str | None:
    """Return the precision of matrix products on a device; None takes that of the training.

    This is the one place that decides it, for validation, evaluation and serving alike: what was
    chosen; else float32 where the device only emulates bfloat16; else bfloat16 on a GPU, and on a
    CPU that of the training.

    Args:
        device: One of `devices()`.
        chosen: What --caption_precision says, if anything.
    """
    if chosen:
        return chosen
    if not multiplies_bfloat16(device):
        return "float32"
    return "bfloat16" if on_gpu(device) else None


def forbid_tf32(chosen: str | None) -> None:
    """Let float32 on a GPU be float32 where it was chosen, and not TF32, which rounds factors.

    Args:
        chosen: What --caption_precision says, if anything.
    """
    if chosen == "float32":
        tf.config.experimental.enable_tensor_float_32_execution(False)


def remark(names: Sequence[str], precisions: Iterable[str]) -> str:
    """Return where and how captions are computed: `captioning on CPU:0 in float32`.

    Args:
        names: The devices.
        precisions: Of the captioners.
    """
    places = ", ".join(name.rpartition("device:")[2] for name in names)
    return f"captioning on {places} in {in_words(precisions)}"


def kind(device: str) -> str:
    """Return the kind of a device of `devices`, `CPU` or `GPU`."""
    return "GPU" if on_gpu(device) else "CPU"


def in_words(precisions: Iterable[str]) -> str:
    """Return the precisions of the captioners of an ensemble as one phrase: `float32`."""
    return " and ".join(dict.fromkeys(precisions))


def largest_useful(work: Callable[[int], None], most: int) -> int:
    """Return the batch size from which on images/s stop growing or memory ends.

    Args:
        work: Computes a batch of so many images and waits for it.
        most: The largest size allowed.

    Returns:
        A batch size, at most `most`.
    """
    size, best, best_rate = min(_SMALLEST, most), 1, 0.0
    while size <= most:
        try:
            rate = _images_per_second(work, size)
        except tf.errors.ResourceExhaustedError:
            break
        if rate < _GAIN * best_rate:
            break
        best, best_rate, size = size, rate, 2 * size
    return best


def _images_per_second(work: Callable[[int], None], size: int) -> float:
    work(size)  # compiles
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < _SECONDS:
        work(size)
        images += size
    return images / (time.perf_counter() - start)
