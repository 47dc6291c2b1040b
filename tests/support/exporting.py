"""Captioners to export, and what the run says of the same images."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from artifacts import restore
from artifacts.restore import Restored
from captioning.feature_captioner import GeneratedCaption
from captioning.given_files import GivenFiles
from captioning.job import caption_at_once
from captioning.replica import Wanted
from captioning.search_options import BeamSearch
from model.decoding import decode
from records.vocabulary import END
from serving.exporting.graph import ExportedCaptioner
from tests.support.captioner import small_captioner
from tests.support.four import FOUR, four_picture

SEARCH = BeamSearch(n_best=3)
NOISE = 8  # Images of noise, beside the four.


def write_images(folder: Path) -> list[Path]:
    """Write the four pictures, and noise of several sizes as PNG and as JPEG."""
    folder.mkdir()
    for image_id in FOUR:
        (folder / f"{image_id}.jpg").write_bytes(four_picture(image_id))
    rng = np.random.default_rng(0)
    for n in range(NOISE):
        coarse = rng.integers(0, 256, (2 + n, 3 + n, 3), np.uint8)
        noise = Image.fromarray(coarse).resize(
            (40 + 20 * n, 120 - 10 * n), Image.Resampling.NEAREST
        )
        noise.save(folder / f"noise-{n}.{'png' if n % 2 else 'jpg'}")
    return sorted(folder.iterdir())


def captions_of_run(run_dir: Path, files: list[Path]) -> list[tuple[GeneratedCaption, ...]]:
    """Return the captions of a run in float32, by the path of every command."""
    source = GivenFiles([str(file) for file in files], len(files))
    wanted = Wanted(attention=True)
    outcomes = caption_at_once([str(run_dir)], source, SEARCH, wanted, precision="float32")
    return [outcome.captions for outcome in sorted(outcomes, key=lambda each: each.place)]


def exported_run(run_dir: Path, search: BeamSearch = SEARCH) -> ExportedCaptioner:
    """Return the exported captioner of a run whose only clitic is `'s`."""
    words = restore.read_vocabulary(str(run_dir)).words
    begins = np.array([2 * (word == "'s") for word in words], np.int32)
    restored = restore.restore(str(run_dir), "float32")
    return ExportedCaptioner(restored, words, np.full_like(begins, 2), begins, search)


def exported_small(search: BeamSearch, seed: int = 0, **sizes: object) -> ExportedCaptioner:
    """Return an untrained captioner whose captions depend on the image, and end."""
    captioner = small_captioner(seed, feature_depth=128, **sizes)
    captioner.decoder.embedding.assign(captioner.decoder.embedding * 5)
    # Features as large as a trained encoder's, so that the image decides about the caption.
    kernel, _ = captioner.encoder.network.layers[-1].weights
    kernel.assign(kernel * 10)
    bias = captioner.decoder.output_logits.bias
    bias.assign(bias + np.eye(bias.shape[0])[END])
    rng = np.random.default_rng(1)
    size = captioner.decoder.config.vocabulary_size
    words = [f"w{n}" for n in range(size)]
    ends, begins = rng.integers(0, 4, (2, size)).astype(np.int32)
    return ExportedCaptioner(Restored(captioner, {}, None), words, ends, begins, search)


def squares(files: list[Path], size: int) -> np.ndarray:
    """Return images as the graph takes them, [B, S, S, 3] float32."""
    return np.stack([decode(file.read_bytes(), 1, size).numpy() for file in files])


def random_squares(images: int, size: int = 64, seed: int = 0) -> np.ndarray:
    """Return images of coarse noise of different contrast, [B, S, S, 3] float32."""
    rng = np.random.default_rng(seed)
    contrast = np.geomspace(0.05, 1, images)[:, None, None, None]
    coarse = (127.5 + contrast * rng.uniform(-127, 127, (images, 4, 4, 3))).astype(np.float32)
    return np.repeat(np.repeat(coarse, size // 4, 1), size // 4, 2)


def compiled_find(exported: ExportedCaptioner) -> tf.types.experimental.PolymorphicFunction:
    """Return `find` as one graph for all batch sizes."""
    spec = tf.TensorSpec([None, exported.size, exported.size, 3], tf.float32)
    return tf.function(exported.find, input_signature=[spec], autograph=False)
