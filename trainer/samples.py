"""What the model says of a few validation images after each epoch, and where it looks."""

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
from model.encoder import decode
from records.split_files import SplitFiles
from trainer.input import reading as records_input

SHOWN = 4  # the first images of the split
_SIDE = 224  # pixels


class Sample(NamedTuple):
    """One image and its greedy caption, with attention."""

    image_id: int
    caption: GeneratedCaption


class Samples:
    """The folder `samples/` of a run; its text and pictures also for TensorBoard.

    Call arguments:
        pictures: image id -> [H, W, 3] uint8; where records hold features only, there are none.
    """

    def __init__(self, run_dir: str, pictures: Mapping[int, np.ndarray]):
        self.directory = RunFolder(run_dir).samples
        self.pictures = pictures

    def write(self, step: int, samples: Sequence[Sample]) -> None:
        """`step-<step>.txt`, a line for each image, and `step-<step>.png`.

        TensorBoard's are for the writer that is the default where this is called.

        Raises:
            OSError: a file cannot be written.
        """
        os.makedirs(self.directory, exist_ok=True)
        path = os.path.join(self.directory, f"step-{step:09d}")
        said = [(str(s.image_id), s.caption.text) for s in samples]
        lines = "".join("\t".join(row) + "\n" for row in said)
        atomic_file.write(f"{path}.txt", lines.encode())
        table = "".join(f"| {image_id} | {caption} |\n" for image_id, caption in said)
        tf.summary.text("val/captions", f"| image | caption |\n|---|---|\n{table}", step=step)
        looks = [self._look(s) for s in samples if s.image_id in self.pictures]
        if looks:
            page = render(looks)
            file = io.BytesIO()
            page.save(file, "PNG")
            atomic_file.write(f"{path}.png", file.getvalue())
            tf.summary.image("val/attention", np.asarray(page)[None], step=step)

    def _look(self, sample: Sample) -> PicturedCaption:
        caption, pixels = sample.caption, self.pictures[sample.image_id]
        return PicturedCaption(pixels, caption.text, caption.words, caption.attention)


def first_pictures(split_files: SplitFiles) -> dict[int, np.ndarray]:
    """The first images of a split, square as the model sees them; {} where it holds none."""
    pictures = {}
    for parts in records_input.readable(records_input.records(split_files), split_files):
        if len(pictures) == SHOWN or not parts["encoded"].numpy():
            break  # with strict pairs an image comes once for each of its captions
        image_id = int(parts["image_id"])
        if image_id not in pictures:
            pixels = decode(parts["encoded"], _SIDE).numpy()
            pictures[image_id] = np.clip(pixels, 0, 255).astype(np.uint8)
    return pictures
