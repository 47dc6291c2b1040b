"""Who is measured: functions from a size and a batch to a function that takes one training step.

Each is called in a process of its own, on one core.
"""

from collections.abc import Callable

import numpy as np

import cli.tensorflow_log  # noqa: F401, before TensorFlow
from benchmarks import train_work as work

Step = Callable[[], object]


def ours(size: str, batch: work.Batch, recipe: bool, precision: str) -> Step:
    """Our training step, of the textbook's model or of our recipe's."""
    import tensorflow as tf

    from artifacts.recipe import Recipe
    from model.definition.decoder import Decoder
    from trainer.optimizer import build_optimizer
    from trainer.step import build_step

    _one_thread()
    flags = dict.fromkeys(Recipe.__dataclass_fields__)
    flags |= {"learning_rate": 4e-4, "warmup_steps": 0, "seed": 1, "clip_norm": 5.0}
    flags |= {"dropout": 0.5, "label_smoothing": 0.0, "doubly_stochastic": 0.01}
    flags |= {"attention_entropy": 0.0, "l2": 1e-6 if recipe else 0.0}
    config = Recipe(**flags)
    captioner = _FeaturesOnly(Decoder(work.config(size, recipe, precision)))
    optimizer = build_optimizer(config, 10_000)
    optimizer.build(captioner.trainable_variables)
    step = build_step(config, captioner, optimizer)
    features, ids = tf.constant(batch.features), tf.constant(batch.ids)
    return lambda: float(step(features, ids)["total"])


class _FeaturesOnly:
    """A captioner whose encoder has done its work."""

    plain = False

    def __init__(self, decoder):
        self.decoder, self.trainable_variables = decoder, decoder.trainable_variables

    def teacher_force(self, *args):
        """As `Captioner.teacher_force`, on a CPU."""
        from model.fast import forcing as fast_forcing

        return fast_forcing.teacher_force(self.decoder, *args)


def textbook(size: str, batch: work.Batch, precision: str) -> Step:
    """The tutorial's decoder in PyTorch, one row for each caption."""
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
    """The same decoder as a cell of `keras.layers.RNN`, under `fit`; no penalty, padding masked."""
    import keras

    _one_thread()
    keras.utils.set_random_seed(1)
    units, captions = work.UNITS, batch.ids.reshape(-1, batch.ids.shape[-1])
    features = np.repeat(batch.features.astype(np.float32), work.CAPTIONS, 0)

    class Cell(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.state_size, self.output_size = [units, units], units
            self.lstm = keras.layers.LSTMCell(units)
            self.encoder_att, self.decoder_att = (keras.layers.Dense(units) for _ in range(2))
            self.full_att = keras.layers.Dense(1)
            self.gate = keras.layers.Dense(features.shape[-1], activation="sigmoid")
            self.features = None

        def build(self, shape):
            depth = features.shape[-1]
            self.encoder_att.build((None, None, depth))
            self.decoder_att.build((None, units))
            self.full_att.build((None, None, units))
            self.gate.build((None, units))
            self.lstm.build((None, shape[-1] + depth))

        def call(self, words, states):
            h = states[0]
            keys = self.encoder_att(self.features) + self.decoder_att(h)[:, None]
            alpha = keras.ops.softmax(self.full_att(keras.ops.tanh(keys)), 1)
            context = self.gate(h) * keras.ops.sum(alpha * self.features, 1)
            return self.lstm(keras.ops.concatenate([words, context], -1), states)

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = keras.layers.Embedding(work.VOCABULARY, units)
            self.first = [keras.layers.Dense(units) for _ in range(2)]
            self.cell = Cell()
            self.rnn = keras.layers.RNN(self.cell, return_sequences=True)
            self.dropout = keras.layers.Dropout(0.5)
            self.vocabulary = keras.layers.Dense(work.VOCABULARY)

        def call(self, inputs, training=None):
            features, words = inputs
            self.cell.features = features
            mean = keras.ops.mean(features, 1)
            state = [dense(mean) for dense in self.first]
            hidden = self.rnn(self.embedding(words), initial_state=state)
            return self.vocabulary(self.dropout(hidden, training=training))

    model = Model()
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
    """A product of two 2048 x 2048 matrices: what the core can do."""
    import tensorflow as tf

    _one_thread()
    x = tf.cast(tf.random.normal([2048, 2048]), precision)
    multiply = tf.function(lambda x: tf.matmul(x, x)[0, 0])
    return lambda: float(multiply(x))


PRODUCT_GIGAFLOP = 2 * 2048**3 / 1e9


def _one_thread() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
