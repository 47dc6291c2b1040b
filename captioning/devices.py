"""Where an evaluation computes, and how much at once."""

import time
from collections.abc import Callable

import tensorflow as tf

# What the records job encodes at once on CPUs, and what the search was measured with.
CPU_ENCODER_BATCH, CPU_DECODE_BATCH = 16, 64
_SMALLEST = 8
_GAIN = 1.1  # of images/s, for which a batch twice as large is worth its memory
_SECONDS = 0.5  # that a size is timed for


def devices() -> list[str]:
    """Every GPU, or else the CPU; of logical CPUs, all."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    return [
        device.name
        for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    ]


def on_gpu(device: str) -> bool:
    """Whether a device of `devices` is a GPU."""
    return ":GPU:" in device


def precision(device: str) -> str | None:
    """Of the runs that caption there; None: each in the one it was trained in."""
    return "bfloat16" if on_gpu(device) else None


def largest_useful(work: Callable[[int], None], most: int) -> int:
    """The batch size from which on images/s stop growing, or memory ends.

    Call arguments:
        work: computes a batch of so many images and waits for it.
        most: not to be exceeded.
    """
    size, best, best_rate = min(_SMALLEST, most), 1, 0.0
    while size <= most:
        try:
            rate = _rate(work, size)
        except tf.errors.ResourceExhaustedError:
            break
        if rate < _GAIN * best_rate:
            break
        best, best_rate, size = size, rate, 2 * size
    return best


def _rate(work: Callable[[int], None], size: int) -> float:
    """Images a second."""
    work(size)  # compiles
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < _SECONDS:
        work(size)
        images += size
    return images / (time.perf_counter() - start)
