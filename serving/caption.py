"""Caption image files: `python -m serving.caption --run_dir=RUN photo.jpg more/*.png`.

Prints `PATH<TAB>caption` for each; a file that is no image is named on stderr, the others are
captioned, and the exit code is 1.
"""

import os
import sys
from collections.abc import Mapping

import cli.tensorflow_log  # noqa: F401  before TensorFlow

# isort: split
import numpy as np
import tensorflow as tf
from absl import flags

from artifacts import weights
from captioning import generate
from captioning import image_file as image_files
from captioning.picture import Look, draw
from cli.command import run
from cli.errors import UsageError, UserError
from model import encoder
from model.caption_generator import CaptionGenerator
from records.manifest import read_vocabulary
from records.vocabulary import Vocabulary

BATCH = 16
DRAWN_SIDE = 448  # pixels; more shows nothing more of a grid of 7 x 7


def define_flags(values: flags.FlagValues) -> None:
    """Declare this command's flags with absl."""
    flags.DEFINE_string(
        "run_dir",
        None,
        "Folder of the run whose best weights to use; several with commas speak together.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "attention",
        None,
        "PNG to draw: each image with the heat of each word.",
        flag_values=values,
    )
    generate.define_flags(values)


def main(values: flags.FlagValues, paths: list[str]) -> int:
    """Files -> lines."""
    if not values.run_dir:
        raise UsageError("--run_dir is missing: the folder of a trained run")
    if not paths:
        raise UsageError("no image files given: name at least one, as in `... photo.jpg`")
    generate.refuse_contradictions(values)
    _refuse_unwritable(values.attention)
    run_dirs = values.run_dir.split(",")
    generator = CaptionGenerator([c for c, _ in weights.restore_together(run_dirs)])
    vocabulary = read_vocabulary(run_dirs[0])
    sizes = {captioner.encoder.spec.size for captioner in generator.captioners}
    looks, bad = [], 0
    for start in range(0, len(paths), BATCH):
        read, pixels = [], []
        for path in paths[start : start + BATCH]:
            try:
                pixels.append({size: _decode(path, size) for size in sizes})
                read.append(path)
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
                bad += 1
        if read:
            stacked = {size: np.stack([image[size] for image in pixels]) for size in sizes}
            for path, look in zip(
                read, caption(generator, vocabulary, stacked, values), strict=True
            ):
                print(f"{path}\t{look.caption}", flush=True)
                if values.attention:
                    looks.append(look._replace(pixels=_drawable(path)))
    if looks:
        try:
            draw(values.attention, looks)
        except OSError as error:
            raise UserError(
                f"{values.attention}: cannot be written: {error.strerror or error}"
            ) from None
        print(f"picture: {values.attention}", file=sys.stderr)
    return 1 if bad else 0


def caption(
    generator: CaptionGenerator,
    vocabulary: Vocabulary,
    pixels: Mapping[int, np.ndarray],
    values: flags.FlagValues,
) -> list[Look]:
    """Images as `generate.captions` takes them -> a caption and its attention for each."""
    said = generate.captions(generator, pixels, values)
    spec = generator.captioners[0].encoder.spec
    height, width, _ = spec.grid
    looks = []
    for image, ids, attention in zip(
        pixels[spec.size], said.ids[:, 0].numpy(), said.attention[:, 0].numpy(), strict=True
    ):
        words = vocabulary.words_of(ids)
        grid = attention[: len(words)].reshape(-1, height, width)
        looks.append(Look(image.astype(np.uint8), vocabulary.decode(ids), words, grid))
    return looks


def _decode(path: str, size: int) -> np.ndarray:
    try:
        return encoder.decode(tf.constant(image_files.read(path)), size).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise UserError(f"{path}: not an image that can be decoded ({error.message})") from None


def _drawable(path: str) -> np.ndarray:
    """The image as a person sees it: [H, W, 3] uint8, its longer side at most `DRAWN_SIDE`."""
    pixels = tf.io.decode_image(image_files.read(path), channels=3, expand_animations=False)
    longer = max(pixels.shape[:2])
    if longer > DRAWN_SIDE:
        height, width = (round(side * DRAWN_SIDE / longer) for side in pixels.shape[:2])
        pixels = tf.image.resize(pixels, [max(height, 1), max(width, 1)], antialias=True)
    return np.clip(pixels.numpy(), 0, 255).astype(np.uint8)


def _refuse_unwritable(path: str | None) -> None:
    """Before the work, not after it."""
    if path and os.path.isdir(path):
        raise UserError(f"--attention={path}: a folder; give the name of a PNG to write")
    folder = os.path.dirname(os.path.abspath(path)) if path else None
    if folder and not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise UserError(f"--attention={path}: there is no folder {folder} that can be written to")


if __name__ == "__main__":
    run(main, define_flags, others="positional")
