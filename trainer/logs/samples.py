"""What the model says about a few validation images after each epoch, and where it looks.

Without an attention the pictures show the captions alone.
"""

import io
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from artifacts.run_folder import RunFolder
from captioning.attention_picture import PicturedCaption, render
from captioning.feature_captioner import GeneratedCaption
from cli import atomic_file
from model.decoding import decode
from records.split_files import SplitFiles
from trainer.input import reading

SHOWN = 4  # the first images of the split
_SIDE = 224  # pixels


class Sample(NamedTuple):
    """One image and its caption, with its attention if there is one."""

    image_id: int
    caption: GeneratedCaption


class Samples:
    """Writes the folder `samples/` of a run, and the same text and pictures for TensorBoard.

    Args:
        folder: The run's folder.
        pictures: Image id -> [H, W, 3] uint8; without the images that only have features.
    """

    def __init__(self, folder: RunFolder, pictures: Mapping[int, np.ndarray]) -> None:
        self.folder = folder.samples
        self._pictures = pictures

    def write(self, step: int, samples: Sequence[Sample]) -> None:
        """Write `step-<step>.txt`, a line for each image, and `step-<step>.png`.

        TensorBoard's go to the summary writer that is the default in the caller.

        Args:
            step: The step after which the captions were generated.
            samples: The captions.

        Raises:
            OSError: A file cannot be written.
        """
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, f"step-{step:09d}")
        rows = [(str(sample.image_id), sample.caption.text) for sample in samples]
        lines = "".join("\t".join(row) + "\n" for row in rows)
        atomic_file.write(f"{path}.txt", lines.encode())
        table = "".join(f"| {image_id} | {caption} |\n" for image_id, caption in rows)
        tf.summary.text("val/captions", f"| image | caption |\n|---|---|\n{table}", step=step)
        pictured = [self._pictured(s) for s in samples if s.image_id in self._pictures]
        if pictured:
            page = render(pictured)
            file = io.BytesIO()
            page.save(file, "PNG")
            atomic_file.write(f"{path}.png", file.getvalue())
            shown = "images" if pictured[0].attention is None else "attention"
            tf.summary.image(f"val/{shown}", np.asarray(page)[None], step=step)

    def _pictured(self, sample: Sample) -> PicturedCaption:
        caption, pixels = sample.caption, self._pictures[sample.image_id]
        return PicturedCaption(pixels, caption.text, caption.words, caption.attention)


def first_pictures(split_files: SplitFiles) -> dict[int, np.ndarray]:
    """Read the first images of a split, square as the model sees them.

    Args:
        split_files: The split.

    Returns:
        Image id -> [H, W, 3] uint8, for `SHOWN` images; none where the records hold only features.
    """
    pictures: dict[int, np.ndarray] = {}
    for record in reading.iterate(reading.parsed_records(split_files), split_files):
        if len(pictures) == SHOWN or not record.encoded.numpy():
            break
        image_id = int(record.image_id)
        if image_id not in pictures:  # in strict pairs an image comes once for each caption
            pixels = decode(record.encoded, record.orientation, _SIDE).numpy()
            pictures[image_id] = np.clip(pixels, 0, 255).astype(np.uint8)
    return pictures
