"""What the tests of model, trainer and serving share.

A captioner small enough to differentiate in a moment; records built once; the commands run in this
process; one run that has learnt four pictures by heart.
"""

import contextlib
import functools
import io
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw
from tensorflow.python.framework.config import disable_op_determinism

from tests.support import records as pipeline_support

# The tests keep their stderr: cli.tensorflow_log would take file descriptor 2 away from pytest.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from artifacts import recipe
from artifacts.recipe import TrainConfig
from cli import command
from evaluation import main as evaluate
from model.captioner import Captioner
from model.definition import forcing
from model.definition.decoder import DecoderConfig
from model.encoder import Encoder
from trainer import losses, main

SIZES = {
    "vocabulary_size": 23,
    "feature_depth": 10,
    "rnn_units": 12,
    "embedding_dim": 9,
    "attention_units": 8,
    "feature_projection": 7,
}
LOCATIONS = 6
# One list an image: captions of ragged lengths, and an image with fewer of them than the others.
CAPTIONS = [
    [[1, 5, 6, 7, 2], [1, 8, 2], [1, 9, 10, 11, 12, 13, 2]],
    [[1, 14, 15, 2]],
    [[1, 16, 17, 18, 5, 2], [1, 19, 20, 6, 2]],
]


def small_captioner(seed: int = 0, **sizes) -> Captioner:
    """A captioner with every weight drawn anew: biases of 0 would hide that one is left out."""
    captioner = Captioner(Encoder("small_cnn"), DecoderConfig(**(SIZES | sizes)))
    rng = np.random.default_rng(seed)
    for variable in captioner.decoder.variables:
        fan_in = variable.shape[0] if len(variable.shape) > 1 else 4
        variable.assign(rng.normal(size=variable.shape) / np.sqrt(fan_in))
    return captioner


def some_features(
    images: int = len(CAPTIONS), seed: int = 0, depth: int = 10, locations: int = LOCATIONS
) -> tf.Tensor:
    """[B, L, D] float32."""
    shape = (images, locations, depth)
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


NOTHING = {
    "doubly_stochastic_weight": 0.0,
    "attention_entropy_weight": 0.0,
    "label_smoothing": 0.0,
}
EVERYTHING = {
    "doubly_stochastic_weight": 0.7,
    "attention_entropy_weight": 0.3,
    "label_smoothing": 0.2,
}


def forced_loss(captioner, features, ids, weights=NOTHING, formulation=forcing, **options):
    """Training's losses, and their gradient for every decoder weight and the features."""
    weights = dict(weights)
    options["label_smoothing"] = weights.pop("label_smoothing")
    variables = [v.value for v in captioner.decoder.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(features)
        forced = formulation.forced(captioner.decoder, features, ids, **options)
        result = losses.objective(forced, captioner.decoder.dense_kernels, l2_weight=0.0, **weights)
    return result, gradients_of(tape, result.total, captioner, variables, features)


def gradients_of(tape, loss, captioner, variables, features) -> dict[str, np.ndarray]:
    """Path of a weight, or "features" -> dense gradient."""
    found = tape.gradient(loss, [*variables, features])
    names = [*(v.path for v in captioner.decoder.trainable_variables), "features"]
    return {name: tf.convert_to_tensor(g).numpy() for name, g in zip(names, found, strict=True)}


def assert_same(gradients, expected, tolerance=1e-4) -> None:
    """Each within the tolerance, relative to its greatest element where that is above 1."""
    assert gradients.keys() == expected.keys()
    for name in expected:
        scale = max(1.0, np.abs(expected[name]).max())
        np.testing.assert_allclose(
            gradients[name] / scale, expected[name] / scale, atol=tolerance, err_msg=name
        )


def padded(captions: list[list[list[int]]], texts: int = 0, words: int = 0) -> tf.Tensor:
    """Ids [B, N, T + 1] padded with 0, N and T + 1 at least `texts` and `words`."""
    texts = max(texts, *map(len, captions))
    words = max(words, *(len(ids) for image in captions for ids in image))
    whole = np.zeros((len(captions), texts, words), np.int32)
    for b, image in enumerate(captions):
        for n, ids in enumerate(image):
            whole[b, n, : len(ids)] = ids
    return tf.constant(whole)


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
_DEFAULTS = {
    "encoder_trainable": False,
    "gate": True,
    "deep_output": True,
    "precision": "float32",
    "epochs": 3,
    "max_steps": 0,
    "dropout": 0.5,
    "l2": 1e-6,
    "doubly_stochastic": 0.01,
    "attention_entropy": 0.0,
    "clip_norm": 5.0,
    "label_smoothing": 0.0,
    "patience": 0,
    "seed": 1,
    "cache_memory_mb": 4096,
    "shuffle_mb": 512,
    "deterministic": False,
    "keep_checkpoints": 3,
    "profile_steps": "",
    "records_dir": "",
    "run_dir": "",
}


def config(**changes) -> TrainConfig:
    """A tiny run's configuration."""
    return TrainConfig(**(_DEFAULTS | TINY | {k: _plain(v) for k, v in changes.items()}))


def _plain(value):
    return str(value) if isinstance(value, Path) else value


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def _run(main_function, define_flags, *args: str, **options) -> int:
    """A command in this process, from its command line to its exit code."""
    before, sigterm = sys.argv, signal.getsignal(signal.SIGTERM)
    named = [f"--{name}={value}" for name, value in options.items() if value is not None]
    sys.argv = ["command", *args, *named]
    try:
        command.run(main_function, define_flags)
    except SystemExit as exit_:
        return exit_.code or 0
    finally:
        sys.argv = before
        signal.signal(signal.SIGTERM, sigterm)
        disable_op_determinism()  # --deterministic is for the whole process


def train(*args: str, **options) -> int:
    """`trainer.main` with a tiny run's flags and these (None: without that flag): its exit code."""
    return _run(main.main, recipe.define_flags, *args, **(TINY | options))


def run_evaluate(*args: str, **options) -> int:
    """`evaluation.main`: its exit code."""
    return _run(evaluate.main, evaluate.define_flags, *args, **options)


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
