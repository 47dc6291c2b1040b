"""One step of training: forward, backward, update."""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from artifacts.recipe import Recipe
from model.captioner import Captioner
from model.fast.tracing import any_batch
from trainer import losses
from trainer.distribution import Cluster, alone
from trainer.losses import Losses
from trainer.optimizer import update

Step = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]


def build_step(
    config: Recipe,
    captioner: Captioner,
    optimizer: keras.optimizers.Optimizer,
    cluster: Cluster | None = None,
) -> Step:
    """The compiled training step.

    Returns: a function of (images [B, size, size, 3] float32 or features [B, L, D] float16, ids
    [B, N, T]), this worker's share of a batch, that updates the weights and gives scalars, of the
    whole batch: the fields of `Losses`, `gradient_norm` (before clipping), `learning_rate`,
    `words` and `captions`.
    """
    cluster = cluster or alone()
    variables = captioner.trainable_variables
    kernels = captioner.decoder.dense_kernels
    # The plain formulation is for devices where all of it is compiled, for each shape of a batch.
    compiled = functools.partial(tf.function, autograph=False, jit_compile=True)

    def differentiate(inputs, ids, seed, present=None, whole=None) -> tuple[Losses, list]:
        with tf.GradientTape() as tape:
            features = captioner.encoder(inputs) if inputs.shape.rank == 4 else inputs
            forced = captioner.teacher_force(
                features, ids, config.dropout, seed, config.label_smoothing
            )
            if present is not None:
                forced = forced._replace(real=forced.real & present)
            result = losses.objective(
                forced,
                kernels,
                l2_weight=config.l2,
                doubly_stochastic_weight=config.doubly_stochastic,
                attention_entropy_weight=config.attention_entropy,
                whole=whole,
            )
        gradients = tape.gradient(result.total, variables)
        return result, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def finished(result, gradients, words, captions) -> dict[str, tf.Tensor]:
        rate = optimizer.learning_rate  # of this step
        norm = update(
            optimizer,
            gradients,
            variables,
            kernels=kernels,
            l2=config.l2,
            clip_norm=config.clip_norm,
        )
        rest = {"gradient_norm": norm, "learning_rate": rate, "words": words, "captions": captions}
        return {**result._asdict(), **rest}

    def step(inputs: tf.Tensor, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        seed = tf.stack([config.seed, tf.cast(optimizer.iterations, tf.int32)])
        return finished(*differentiate(inputs, ids, seed), *_counts(ids))

    if cluster.replicas == 1:
        return compiled(step) if captioner.plain else any_batch(step)
    # Sums over replicas stay outside of what is compiled whole.
    part = compiled(differentiate) if captioner.plain else differentiate
    return _shared(config, optimizer, cluster, part, finished, retrace=captioner.plain)


def _shared(config, optimizer, cluster, differentiate, finished, retrace: bool) -> Step:
    """A step that several replicas do together, each with its images of the batch.

    The objective is normalised by the words and captions of the whole batch, so that the parts'
    gradients sum up to the whole's, which every replica then clips and applies to its own copy of
    the weights. Dropout's masks differ between replicas: their seed counts (step, replica).
    """

    def of_replica(inputs, ids, present):
        context = tf.distribute.get_replica_context()
        number = tf.cast(optimizer.iterations, tf.int32) * cluster.replicas
        seed = tf.stack([config.seed, number + context.replica_id_in_sync_group])
        counts = [tf.where(present, count, 0.0) for count in _counts(ids)]
        words, captions = context.all_reduce("SUM", counts)
        whole = losses.Whole(words, captions, cluster.replicas)
        parts = differentiate(inputs, ids, seed, present, whole)
        return finished(*context.all_reduce("SUM", parts), words, captions)

    @tf.function(autograph=False, reduce_retracing=not retrace)
    def step(parts):
        values = cluster.strategy.run(lambda: of_replica(*parts[cluster.local_replica()]))
        local = cluster.strategy.experimental_local_results
        return {name: local(value)[0] for name, value in values.items()}

    return lambda inputs, ids: step(cluster.parts(inputs, ids))


def _counts(ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """ids [B, N, T] -> words that should be said, captions that have one; float32."""
    real = ids[:, :, 1:] != 0
    counts = tf.math.count_nonzero(real), tf.math.count_nonzero(tf.reduce_any(real, -1))
    return tuple(tf.cast(count, tf.float32) for count in counts)
