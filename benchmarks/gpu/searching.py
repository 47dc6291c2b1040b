"""Part 4: the search, ours and the textbook's. Every caption has `WORDS` words."""

from __future__ import annotations

import numpy as np

from benchmarks import train_work as work
from benchmarks.gpu.measure import add_row, timed

WORDS, START, END, FEW = 12, 1, 2, 4
SIZE = "S"


def _features(images: int) -> np.ndarray:
    height, width, depth = work.SIZES[SIZE]
    rng = np.random.default_rng(0)
    return rng.random((images, height * width, depth), np.float32).astype(np.float16)


def ours(beam_size: int, precision: str, batches: list[int]) -> None:
    """Time our search over batches of several sizes.

    Args:
        beam_size: K; 1 searches greedily.
        precision: of the products.
        batches: images in a batch.
    """
    import cli.start_tensorflow  # noqa: F401, I001, before TensorFlow
    import tensorflow as tf

    from captioning import devices
    from model.caption_generator import CaptionGenerator
    from model.definition.decoder import Decoder
    from model.search.rules import NO_REPEAT_NGRAM, Rules

    devices.devices()

    class FeaturesOnly:
        decoder = Decoder(work.decoder_config(SIZE, True, precision))

    rules = Rules(START, END, banned=(END,), max_length=WORDS, no_repeat_ngram=NO_REPEAT_NGRAM)
    generator = CaptionGenerator([FeaturesOnly])

    def search(features: tf.Tensor) -> np.ndarray:
        if beam_size == 1:
            return generator.greedy([features], rules).ids.numpy()
        return generator.beam([features], rules, beam_size=beam_size).ids.numpy()

    name = f"ours {precision}, " + (f"beam {beam_size}" if beam_size > 1 else "greedy")
    rates = {}
    for images in batches:
        features = tf.constant(_features(images))
        found = timed(lambda features=features: search(features), 0.7)
        rates[images] = 1e3 * images / found["ms"]
        add_row(f"{name}, {images} images", images_per_s=rates[images], **found)
    chosen = devices.largest_useful(
        lambda images: search(tf.constant(_features(images))) is None, max(batches)
    )
    best = max(rates, key=lambda images: rates[images])
    add_row(f"{name}: batch that captioning chooses", images=chosen, best_of_sweep=best)


def textbook(beam_size: int, images: int) -> None:
    """Time the tutorial's search: a beam one image at a time, as it is; 1: greedy, as a batch.

    Args:
        beam_size: K.
        images: in a batch, for greedy search.
    """
    import torch

    from benchmarks.textbook import Decoder, beam_search, greedy_search

    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    decoder = Decoder(work.VOCABULARY, work.SIZES[SIZE][2], work.UNITS).eval().to(device)
    features = torch.from_numpy(_features(images).astype(np.float32)).to(device)
    if beam_size == 1:
        found = timed(lambda: greedy_search(decoder, features, START, WORDS).cpu())
    else:
        images = FEW
        ones = features[:FEW].split(1)
        found = timed(
            lambda: [beam_search(decoder, one, beam_size, START, END, WORDS) for one in ones]
        )
    how = f"beam {beam_size}, one at a time" if beam_size > 1 else f"greedy, {images} images"
    add_row(f"PyTorch textbook float32, {how}", images_per_s=1e3 * images / found["ms"], **found)
