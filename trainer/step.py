"""One step of training: forward, backward, update."""

from collections.abc import Callable

import keras
import tensorflow as tf

from model.captioner import Captioner
from trainer import losses
from trainer.config import TrainConfig
from trainer.optimizer import update


def build_step(
    config: TrainConfig, captioner: Captioner, optimizer: keras.optimizers.Optimizer
) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
    """The compiled training step.

    Returns: a function of (images [B, size, size, 3] float32 or features [B, L, D] float16, ids
    [B, N, T]) that updates the weights and gives scalars: the fields of `Losses`, `gradient_norm`
    (before clipping), `learning_rate` and `words`.
    """
    variables = captioner.trainable_variables
    kernels = captioner.decoder.dense_kernels

    # The plain formulation is for devices where all of it is compiled, for each shape of a batch.
    @tf.function(autograph=False, reduce_retracing=not captioner.plain, jit_compile=captioner.plain)
    def step(inputs: tf.Tensor, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        seed = tf.stack([config.seed, tf.cast(optimizer.iterations, tf.int32)])
        with tf.GradientTape() as tape:
            features = captioner.encoder(inputs) if inputs.shape.rank == 4 else inputs
            forced = captioner.forced(features, ids, config.dropout, seed, config.label_smoothing)
            result = losses.objective(
                forced,
                kernels,
                l2_weight=config.l2,
                doubly_stochastic_weight=config.doubly_stochastic,
            )
        gradients = tape.gradient(result.total, variables)
        rate = optimizer.learning_rate
        norm = update(
            optimizer,
            [tf.convert_to_tensor(gradient) for gradient in gradients],
            variables,
            kernels=kernels,
            l2=config.l2,
            clip_norm=config.clip_norm,
        )
        return {
            **result._asdict(),
            "gradient_norm": norm,
            "learning_rate": rate,
            "words": tf.math.count_nonzero(forced.real),
        }

    return step
