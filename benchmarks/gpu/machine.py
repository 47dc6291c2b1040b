"""Part 1: which devices there are, and whether they compute at all."""

from __future__ import annotations

import cli.start_tensorflow  # noqa: F401, before TensorFlow
from benchmarks.gpu.measure import add_row, timed


def devices() -> None:
    """Tell the devices and their memory."""
    import tensorflow as tf

    from captioning.devices import devices as names
    from cli import processor

    add_row("processor", says=processor.describe())
    add_row("devices", names=names(), tensorflow=tf.__version__)
    build = tf.sysconfig.get_build_info()
    add_row("built for", **{k: str(v) for k, v in build.items() if k.startswith("cud")})
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        add_row("gpu", **{name: str(value) for name, value in details.items()})


def product(precision: str, size: int) -> None:
    """Time a square product.

    Args:
        precision: "float32" or "bfloat16".
        size: rows and columns.
    """
    import tensorflow as tf

    from captioning.devices import devices as names

    names()
    x = tf.cast(tf.random.normal([size, size]), precision)
    multiply = tf.function(lambda x: tf.reduce_sum(tf.matmul(x, x)[0, :8]), autograph=False)
    found = timed(lambda: float(multiply(x)))
    add_row(f"product {size} {precision}", tflops=2e-9 * size**3 / found["ms"], **found)


def convolution(size: int) -> None:
    """Time a convolution of NASNet-like width.

    Args:
        size: side of the images.
    """
    import tensorflow as tf

    from captioning.devices import devices as names

    names()
    x, kernel = tf.random.normal([32, size, size, 128]), tf.random.normal([3, 3, 128, 128])
    convolve = tf.function(
        lambda x: tf.reduce_sum(tf.nn.conv2d(x, kernel, 1, "SAME")[0, 0, 0]), autograph=False
    )
    found = timed(lambda: float(convolve(x)))
    add_row(f"convolution 3x3 of [32, {size}, {size}, 128]", **found)
