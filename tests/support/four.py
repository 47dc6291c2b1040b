"""Four pictures, each with its caption: what a run can learn by heart in seconds."""

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw

from tests.support.records import CocoFolder, build_coco

FOUR = {
    1: "a dog runs",
    2: "two cats sleep on the old red sofa",
    3: "the kite flies over the sea",
    4: "a dog 's ball lies in the grass",
}
# The captions as people read them.
FOUR_DETOKENISED = {image_id: text.replace(" 's", "'s") for image_id, text in FOUR.items()}


def four_picture(image_id: int, quality: int = 90) -> bytes:
    """Return a JPEG of 64 x 64 pixels, unlike the other three at a glance."""
    picture = Image.new("RGB", (64, 64), ("white", "navy", "khaki", "darkgreen")[image_id - 1])
    pen = ImageDraw.Draw(picture)
    box = [(8, 8, 30, 30), (34, 6, 60, 32), (6, 36, 34, 58), (30, 30, 60, 60)][image_id - 1]
    draw = (pen.rectangle, pen.ellipse, pen.ellipse, pen.rectangle)[image_id - 1]
    draw(box, fill=("red", "yellow", "black", "white")[image_id - 1])
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def build_four(
    data_dir: Path, output_dir: Path, captions: Mapping[int, str] = FOUR, **options
) -> None:
    """Build records of the four pictures: each is in val once and in train fifty times."""
    coco = CocoFolder(data_dir, train=0, val=0)
    for image_id, caption in captions.items():
        coco.add("val", image_id, four_picture(image_id), captions=[caption])
        for copy in range(1, 51):  # an epoch of some length: each ends with a validation
            # Another quality: the same bytes in both splits would be a leak.
            coco.add("train", 100 * copy + image_id, four_picture(image_id, 89), [caption])
    coco.write()
    build_coco(coco, output_dir, train_shards=1, **options)


FOUR_FLAGS = {
    "encoder_trainable": True,
    "dropout": 0,
    "l2": 0,
    "doubly_stochastic": 0,
    "epochs": 3,
    "warmup_steps": 10,
    "learning_rate": 4e-3,
    "rnn_units": 128,
    "embedding_dim": 128,
    "attention_units": 64,
    "feature_projection": 0,
}


def train_four(records_dir: Path, run_dir: Path) -> None:
    """Train a run that says the caption of each of the four pictures word for word."""
    from tests.support.training import train  # imports TensorFlow

    assert train(records_dir=records_dir, run_dir=run_dir, **FOUR_FLAGS) == 0
