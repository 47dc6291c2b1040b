"""The contenders of `benchmarks.train`: functions that return one training step to call.

Each is called in a process of its own, on one core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import cli.start_tensorflow  # noqa: F401, before TensorFlow
from benchmarks import train_work as work
from benchmarks.contest import Step

# PyTorch's processes must not load TensorFlow: triton aborts where both are loaded.
if TYPE_CHECKING:
    import tensorflow as tf

    from model.definition.decoder import Decoder
    from model.definition.forcing import ForcingResult

PRODUCT_GIGAFLOP = 2 * 2048**3 / 1e9


def ours(size: str, batch: work.Batch, recipe: bool, precision: str) -> Step:
    """Return our training step.

    Args:
        size: a key of `train_work.SIZES`.
        batch: what it is trained on.
        recipe: train our recipe's model; else the textbook's.
        precision: of the products, "float32" or "bfloat16".
    """
    import tensorflow as tf

    from artifacts.recipe import Recipe
    from model.definition.decoder import Decoder
    from trainer.optimizer import build_optimizer
    from trainer.step import build_step

    use_one_thread()
    training = Recipe(
        learning_rate=4e-4,
        warmup_steps=0,
        seed=1,
        clip_norm=5.0,
        dropout=0.5,
        label_smoothing=0.0,
        doubly_stochastic=0.01,
        attention_entropy=0.0,
        l2=1e-6 if recipe else 0.0,
    )
    captioner = FeaturesOnly(Decoder(work.decoder_config(size, recipe, precision)))
    optimizer = build_optimizer(training, 10_000)
    optimizer.build(captioner.trainable_variables)
    step = build_step(training, captioner, optimizer)
    features, ids = tf.constant(batch.features), tf.constant(batch.ids)
    return lambda: float(step(features, ids)["total"])


class FeaturesOnly:
    """A captioner that gets features instead of images.

    Args:
        decoder: its decoder.
        plain: run the definition, as on a GPU; else the formulation for CPUs.
    """

    def __init__(self, decoder: Decoder, plain: bool = False):
        self.decoder, self.plain = decoder, plain
        self.trainable_variables = decoder.trainable_variables

    def features(self, features: tf.Tensor) -> tf.Tensor:
        """Return the features as they are."""
        return features

    def teacher_force(self, *args: tf.Tensor) -> ForcingResult:
        """Run `Captioner.teacher_force`."""
        from model.definition import forcing
        from model.fast import forcing as fast_forcing

        formulation = forcing if self.plain else fast_forcing
        return formulation.teacher_force(self.decoder, *args)


def textbook(size: str, batch: work.Batch, precision: str) -> Step:
    """Return the training step of the tutorial's decoder in PyTorch, with one row per caption."""
    import torch

    from benchmarks.textbook import Decoder, Trainer

    torch.set_num_threads(1)
    torch.manual_seed(1)
    trainer = Trainer(Decoder(work.VOCABULARY, work.SIZES[size][2], work.UNITS), precision)
    features = np.repeat(batch.features.astype(np.float32), work.CAPTIONS, 0)
    captions = batch.ids.reshape(-1, batch.ids.shape[-1]).astype(np.int64)
    lengths = torch.from_numpy((captions != 0).sum(1))
    tensors = torch.from_numpy(features), torch.from_numpy(captions), lengths
    return lambda: trainer.step(*tensors)


def keras_rnn(size: str, batch: work.Batch) -> Step:
    """Return the training step of the same decoder as a Keras RNN cell, under `fit`."""
    import keras

    from benchmarks.textbook_keras import Decoder

    use_one_thread()
    keras.utils.set_random_seed(1)
    captions = batch.ids.reshape(-1, batch.ids.shape[-1])
    features = np.repeat(batch.features.astype(np.float32), work.CAPTIONS, 0)
    model = Decoder(work.VOCABULARY, work.UNITS, features.shape[-1])
    model.compile(
        keras.optimizers.Adam(4e-4, clipvalue=5.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,  # "auto" turns XLA on, which takes many times as long to begin
    )
    targets = captions[:, 1:]
    inputs, weights = (features, captions[:, :-1]), (targets != 0).astype(np.float32)
    options = {"batch_size": len(captions), "epochs": 1, "verbose": 0, "shuffle": False}
    return lambda: model.fit(inputs, targets, sample_weight=weights, **options)


def product(precision: str) -> Step:
    """Return a product of two 2048 x 2048 matrices: what the core can do."""
    import tensorflow as tf

    use_one_thread()
    x = tf.cast(tf.random.normal([2048, 2048]), precision)
    multiply = tf.function(lambda x: tf.matmul(x, x)[0, 0])
    return lambda: float(multiply(x))


def use_one_thread() -> None:
    """Let TensorFlow compute in one thread."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
