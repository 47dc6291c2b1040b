"""Part 5: encoders with random weights, and the decoding of JPEGs that feeds them."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import cli.start_tensorflow  # noqa: F401, before TensorFlow
from benchmarks.coco_folder import make_jpeg
from benchmarks.gpu.measure import add_row, alone, timed


def encoder(name: str, precision: str, images: int) -> None:
    """Time an encoder as captioning runs it.

    Args:
        name: a key of `model.encoder.ENCODERS`.
        precision: of the products.
        images: in a batch.
    """
    from captioning.devices import devices
    from model.encoder import ENCODERS, Encoder
    from model.fast.frozen_encoder import FrozenEncoder

    devices()
    if name not in ENCODERS:
        add_row(f"{name}: not an encoder of this version")
        return
    frozen = FrozenEncoder(Encoder(name), precision, None)
    side = frozen.spec.size
    pixels = np.random.default_rng(0).uniform(0, 255, (images, side, side, 3)).astype(np.float32)
    found = timed(lambda: frozen(pixels))
    add_row(
        f"{name} {precision}, {images} images", images_per_s=1e3 * images / found["ms"], **found
    )


def jpegs(images: int) -> None:
    """Time the decoding of JPEGs like COCO's on all cores, to the side of NASNet's inputs.

    Args:
        images: how many are decoded.
    """
    import tensorflow as tf

    from model.decoding import decode

    bodies = [tf.constant(make_jpeg(seed)) for seed in range(16)]
    cores = len(os.sched_getaffinity(0))
    for side in (224, 331):
        with tf.device("cpu"), ThreadPoolExecutor(cores) as pool:
            _decode = lambda i, side=side: decode(bodies[i % 16], 1, side).numpy()  # noqa: E731
            list(pool.map(_decode, range(16)))
            with alone():
                began = time.perf_counter()
                list(pool.map(_decode, range(images)))
                seconds = time.perf_counter() - began
        add_row(f"JPEG 640x480 to {side}x{side}, {cores} cores", images_per_s=images / seconds)
