"""Training and evaluation as the tests run them.

The commands run in this process. Records are built once, and one run has learnt four pictures by
heart.
"""

import functools
import io
import os
import signal
import sys
import tempfile
from pathlib import Path

import tensorflow as tf
from PIL import Image, ImageDraw
from tensorflow.python.framework.config import disable_op_determinism

from tests.support import records as pipeline_support

# The tests keep their stderr: cli.tensorflow_log would take file descriptor 2 away from pytest.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from artifacts.recipe import Recipe
from cli import command
from evaluation import main as evaluate
from trainer import main

# Sizes of a run that takes a moment.
TINY = {
    "encoder": "small_cnn",
    "encoder_weights": "random",
    "batch_size": 4,
    "rnn_units": 24,
    "embedding_dim": 16,
    "attention_units": 16,
    "feature_projection": 16,
    "warmup_steps": 5,
    "learning_rate": 5e-3,
}


def config(**changes) -> Recipe:
    """A tiny run's recipe."""
    return Recipe(**({"epochs": 3} | TINY | {k: _plain(v) for k, v in changes.items()}))


def _plain(value):
    return str(value) if isinstance(value, Path) else value


def _run(module, *args: str, **options) -> int:
    """A command in this process, from its command line to its exit code."""
    before, sigterm = sys.argv, signal.getsignal(signal.SIGTERM)
    named = [f"--{name}={value}" for name, value in options.items() if value is not None]
    sys.argv = ["command", *args, *named]
    try:
        command.run(module.main, module.define_flags)
    except SystemExit as exit_:
        return exit_.code or 0
    finally:
        sys.argv = before
        signal.signal(signal.SIGTERM, sigterm)
        disable_op_determinism()  # --deterministic is for the whole process


def train(*args: str, **options) -> int:
    """`trainer.main` with a tiny run's flags and these (None: without that flag): its exit code."""
    return _run(main, *args, **(TINY | options))


def run_evaluate(*args: str, **options) -> int:
    """`evaluation.main`: its exit code."""
    return _run(evaluate, *args, **options)


def events(run_dir: Path) -> dict[str, list[int]]:
    """What TensorBoard has of a run: name -> the steps it was logged at."""
    found = {}
    for path in sorted((run_dir / "events").glob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="captions-test-")


def folder() -> Path:
    """A folder that is there until the tests end."""
    return Path(_folder().name)


@functools.cache
def scenes_records(captions_per_record: int = 0) -> Path:
    """Records of 60 drawn scenes: 48, 6 and 6."""
    output = folder() / f"scenes-records-{captions_per_record}"
    pipeline_support.build(
        dataset="scenes",
        data_dir=folder() / "scenes",
        output_dir=output,
        scenes_images=60,
        min_word_count=1,
        train_shards=3,
        captions_per_record=captions_per_record,
    )
    return output


FOUR = {
    1: "a dog runs",
    2: "two cats sleep on the old red sofa",
    3: "the kite flies over the sea",
    4: "a dog 's ball lies in the grass",
}


def four_picture(image_id: int, quality: int = 90) -> bytes:
    """A JPEG of 64 x 64 pixels, unlike the other three at a glance."""
    picture = Image.new("RGB", (64, 64), ("white", "navy", "khaki", "darkgreen")[image_id - 1])
    pen = ImageDraw.Draw(picture)
    box = [(8, 8, 30, 30), (34, 6, 60, 32), (6, 36, 34, 58), (30, 30, 60, 60)][image_id - 1]
    draw = (pen.rectangle, pen.ellipse, pen.ellipse, pen.rectangle)[image_id - 1]
    draw(box, fill=("red", "yellow", "black", "white")[image_id - 1])
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


@functools.cache
def four_records() -> Path:
    """Four pictures with one caption each: in val once, in train fifty times."""
    coco = pipeline_support.CocoFolder(folder() / "four", train=0, val=0)
    for image_id, caption in FOUR.items():
        coco.add("val", image_id, four_picture(image_id), captions=[caption])
        for copy in range(1, 51):  # an epoch of some length: each ends with a validation
            # Saved otherwise: the very bytes in both splits would be a leak.
            coco.add("train", 100 * copy + image_id, four_picture(image_id, 89), [caption])
    coco.write()
    pipeline_support.build_coco(coco, folder() / "four-records", train_shards=1)
    return folder() / "four-records"


@functools.cache
def four_run() -> Path:
    """A run that has learnt those by heart."""
    run_dir = folder() / "four-run"
    options = {
        "encoder_trainable": True,
        "dropout": 0,
        "l2": 0,
        "doubly_stochastic": 0,
        "epochs": 4,
        "warmup_steps": 10,
        "learning_rate": 2e-3,
        "rnn_units": 128,
        "embedding_dim": 128,
        "attention_units": 64,
        "feature_projection": 0,
    }
    code = train(records_dir=four_records(), run_dir=run_dir, **options)
    assert code == 0
    return run_dir
