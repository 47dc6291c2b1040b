"""One training step: forward, backward, update."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from artifacts.recipe import Recipe
from model.captioner import Captioner
from model.definition.forcing import ForcingResult
from model.fast.tracing import any_batch
from trainer import losses
from trainer.distribution import Cluster, Share, one_device
from trainer.input.feeding import fed_words
from trainer.losses import BatchTotals, Losses
from trainer.memory.pieces import sum_over_pieces
from trainer.optimizer import update

# (inputs, ids) of this worker's share of a batch -> scalars of the whole batch
TrainingStep = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
Gradients = list[tf.Tensor]
# Where a step is compiled whole, captions are padded to a multiple of so many words, so that there
# are few shapes: each costs seconds.
_LENGTHS_APART = 4


def build_step(
    recipe: Recipe,
    captioner: Captioner,
    optimizer: keras.optimizers.Optimizer,
    cluster: Cluster | None = None,
) -> TrainingStep:
    """Build and compile the training step.

    Args:
        recipe: The recipe: weights of the losses, dropout, seed.
        captioner: The model to train.
        optimizer: A built optimizer of its trainable variables.
        cluster: The devices that share the step; None: TensorFlow's default device.

    Returns:
        A function of (images [B, size, size, 3] float32 or features [B, L, D] float16, ids
        [B, N, T]), this worker's share of a batch. It updates the weights and returns float32
        scalars of the whole batch: those of `Losses`, `gradient_norm` (before clipping),
        `learning_rate`, `words` and `captions`.
    """
    cluster = cluster or one_device()
    replica = Replica(recipe, captioner, optimizer)
    if cluster.replicas > 1:
        return _shared_step(replica, cluster)
    # The plain formulation is for devices where all of it is compiled, for each shape of a batch.
    return _compiled_whole(replica) if captioner.plain else any_batch(replica.step)


class Replica:
    """The parts of a training step on one device."""

    def __init__(
        self, recipe: Recipe, captioner: Captioner, optimizer: keras.optimizers.Optimizer
    ) -> None:
        self.recipe, self.captioner, self.optimizer = recipe, captioner, optimizer
        self.variables = captioner.trainable_variables
        self.kernels = captioner.decoder.dense_kernels

    def step(self, inputs: tf.Tensor, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Take a step with a batch that is not shared."""
        seed = tf.stack([self.recipe.seed, tf.cast(self.optimizer.iterations, tf.int32)])
        result, gradients = self.differentiate(inputs, ids, seed)
        words, captions = count_words(ids)
        return self.update(result, gradients, words, captions)

    def differentiate(
        self,
        inputs: tf.Tensor,
        ids: tf.Tensor,
        seed: tf.Tensor,
        present: tf.Tensor | None = None,
        totals: BatchTotals | None = None,
        advantages: tf.Tensor | None = None,
    ) -> tuple[Losses, Gradients]:
        """Compute the losses and their gradients for all trainable variables, piece by piece.

        Args:
            inputs: Images or features, [B, ...].
            ids: [B, N, T].
            seed: [2] int32, of dropout.
            present: Whether these images count, for a replica's share of a batch.
            totals: Totals of the whole batch, for a replica's share of it.
            advantages: [B, N] float32, as for `losses.objective`, of captions that were sampled
                from these inputs. The gradient is that of the captioner that sampled them: there is
                neither dropout nor label smoothing, and the words fed in are the captions' own.
        """
        pieces = self.recipe.accumulate_steps
        if pieces == 1:
            return self._differentiate(inputs, ids, advantages, seed, present, totals)
        words, captions, shares = totals or BatchTotals(*count_words(ids), 1)

        def of_piece(
            piece: Sequence[tf.Tensor | None], number: tf.Tensor, count: int | tf.Tensor
        ) -> tuple[Losses, Gradients]:
            piece_seed = tf.stack([seed[0], seed[1] * pieces + number])  # masks of its own
            piece_totals = BatchTotals(words, captions, tf.cast(shares * count, tf.float32))
            piece_inputs, piece_ids, piece_advantages = piece
            assert piece_inputs is not None and piece_ids is not None
            return self._differentiate(
                piece_inputs, piece_ids, piece_advantages, piece_seed, present, piece_totals
            )

        losses_of_nothing = Losses(*(tf.zeros([]) for _ in Losses._fields))
        zeros = (losses_of_nothing, [tf.zeros(variable.shape) for variable in self.variables])
        return sum_over_pieces(of_piece, (inputs, ids, advantages), pieces, zeros)

    def _differentiate(
        self,
        inputs: tf.Tensor,
        ids: tf.Tensor,
        advantages: tf.Tensor | None,
        seed: tf.Tensor,
        present: tf.Tensor | None,
        totals: BatchTotals | None,
    ) -> tuple[Losses, Gradients]:
        """Do what `differentiate` does, at once."""
        recipe, captioner = self.recipe, self.captioner
        with tf.GradientTape() as tape:
            if advantages is None:
                forced = self._force(tape, inputs, ids, seed)
            else:
                forced = captioner.teacher_force(captioner.features(inputs), ids)
            if present is not None:
                forced = forced._replace(real=forced.real & present)
            result = losses.objective(
                forced,
                self.kernels,
                l2_weight=recipe.l2,
                doubly_stochastic_weight=recipe.doubly_stochastic,
                attention_entropy_weight=recipe.attention_entropy,
                attention_entropy_floor=recipe.attention_entropy_floor,
                totals=totals,
                advantages=advantages,
            )
        gradients = tape.gradient(result.total, self.variables)
        return result, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _force(
        self, tape: tf.GradientTape, inputs: tf.Tensor, ids: tf.Tensor, seed: tf.Tensor
    ) -> ForcingResult:
        """Force people's captions; `tape` does not see how the words fed in are chosen."""
        recipe, features = self.recipe, self.captioner.features(inputs)
        with tape.stop_recording():
            done = tf.cast(self.optimizer.iterations, tf.float32)
            progress = done / self.optimizer.total_steps
            fed = fed_words(recipe, self.captioner, features, ids, seed, progress)
        return self.captioner.teacher_force(
            features, ids, recipe.dropout, seed, recipe.label_smoothing, fed
        )

    def update(
        self, result: Losses, gradients: Gradients, words: tf.Tensor, captions: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Update the weights; returns the scalars of the step."""
        learning_rate = self.optimizer.learning_rate  # before the update: that of this step
        norm = update(
            self.optimizer,
            gradients,
            self.variables,
            kernels=self.kernels,
            l2=self.recipe.l2,
            clip_norm=self.recipe.clip_norm,
        )
        return {
            **result.scalars(self.captioner.decoder.config.attends),
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            "words": words,
            "captions": captions,
        }


def _shared_step(replica: Replica, cluster: Cluster) -> TrainingStep:
    """Build a step that several replicas take together, each with its images of the batch.

    The objective is divided by the words and captions of the whole batch, so the gradients of the
    shares sum up to the gradient of the batch. Every replica then clips that sum and applies it to
    its own copy of the weights. Dropout masks differ between replicas: the seed counts (step,
    replica).
    """
    plain, optimizer = replica.captioner.plain, replica.optimizer
    # Sums over replicas stay outside of what is compiled whole.
    differentiate = compiled(replica.differentiate) if plain else replica.differentiate

    def of_replica(share: Share) -> dict[str, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        number = tf.cast(optimizer.iterations, tf.int32) * cluster.replicas
        seed = tf.stack([replica.recipe.seed, number + context.replica_id_in_sync_group])
        counts = [tf.where(share.present, count, 0.0) for count in count_words(share.ids)]
        words, captions = context.all_reduce("SUM", counts)
        totals = BatchTotals(words, captions, cluster.replicas)
        of_share = differentiate(share.inputs, share.ids, seed, share.present, totals)
        result, gradients = context.all_reduce("SUM", of_share)
        return replica.update(result, gradients, words, captions)

    @tf.function(autograph=False, reduce_retracing=not plain)
    def step(shares: list[Share]) -> dict[str, tf.Tensor]:
        values = cluster.strategy.run(lambda: of_replica(shares[cluster.local_replica()]))
        local = cluster.strategy.experimental_local_results
        return {name: local(value)[0] for name, value in values.items()}

    padded = few_lengths if plain else tf.identity
    return lambda inputs, ids: step(cluster.replica_shares(inputs, padded(ids)))


def _compiled_whole(replica: Replica) -> TrainingStep:
    """Compile the step as one graph; a frozen encoder runs before it.

    An encoder of a thousand operations would be compiled again for every length of captions.
    """
    compiled_step, captioner = compiled(replica.step), replica.captioner
    encode = any_batch(lambda images: captioner.encoder(images))

    def step(inputs: tf.Tensor, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        if inputs.shape.rank == 4 and not captioner.encoder.trainable:
            inputs = encode(inputs)
        return compiled_step(inputs, few_lengths(ids))

    return step


def few_lengths(ids: tf.Tensor) -> tf.Tensor:
    """Pad ids [B, N, T + 1] with 0 so that T is a multiple of 4."""
    return tf.pad(ids, [[0, 0], [0, 0], [0, (1 - ids.shape[-1]) % _LENGTHS_APART]])


def compiled(function: Callable) -> Callable:
    """Compile a function by XLA as one graph, as GPUs run the plain formulation."""
    return tf.function(function, autograph=False, jit_compile=True)


def count_words(ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Count, in ids [B, N, T], the words to predict and the captions that have one; float32."""
    real = ids[:, :, 1:] != 0
    words = tf.math.count_nonzero(real)
    captions = tf.math.count_nonzero(tf.reduce_any(real, -1))
    return tf.cast(words, tf.float32), tf.cast(captions, tf.float32)
