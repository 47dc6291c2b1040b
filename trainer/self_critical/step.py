"""One self-critical training step: sample captions, reward them, and make good ones likelier.

The policy gradient (REINFORCE) of the mean reward of sampled captions. Each is compared with the
mean reward of the other samples of its image, so an image's advantages sum to 0 and no other
baseline is needed. The gradient goes through teacher forcing: the loss is a cross-entropy over the
sampled words, weighted by the caption's advantage.

A step is three parts: a graph that samples, the reward in numpy, a graph that learns.

Dropout is applied to the features of a frozen encoder alone, once: both graphs and all samples of
an image see the same features. Any other dropout would differ between the graphs: the captions
would be samples of another captioner than the one whose gradient is taken. Without any, the
captioner samples the captions that it knows by heart, and learns less that is true of other images.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from artifacts.recipe import Recipe
from model.caption_generator import draw
from model.captioner import Captioner
from model.definition.forcing import keep_mask
from model.search.rules import Rules
from records.vocabulary import END, START
from trainer.distribution import Cluster, Share, one_device
from trainer.losses import BatchTotals
from trainer.self_critical.guards import SUMS, count_faults
from trainer.step import Replica, compiled, count_words, few_lengths

# The seeds of a step's images lie so far apart: more images than any batch has.
_MAX_BATCH = 1 << 20


class Judgement(NamedTuple):
    """What sampled captions are judged by."""

    # (image ids [B], captions [B, N, T]: words, <end>, 0) -> [B, N] float64
    reward: Callable[[np.ndarray, np.ndarray], np.ndarray]
    unfinished: np.ndarray  # ids of words that no complete caption ends in
    max_words: int  # of a sampled caption, `<end>` counted


class Drawn(NamedTuple):
    """Sampled captions of one replica's share of a batch."""

    inputs: tf.Tensor  # features [B, L, D] after dropout; images where the encoder is trained
    ids: tf.Tensor  # [B, N, T + 1] int32: <start>, words, <end>, 0; the longest caption first
    places: tf.Tensor  # [B, 1] int64, of the images in the whole batch
    present: tf.Tensor  # [] bool: False for a share of one blank image that must not count


class Sampled(NamedTuple):
    """Sampled captions of one replica's share of a batch, as it learns from them."""

    inputs: tf.Tensor  # as in `Drawn`
    ids: tf.Tensor  # as in `Drawn`
    advantages: tf.Tensor  # [B, N] float32
    sums: tf.Tensor  # [len(SUMS)] float32, over all captions
    present: tf.Tensor  # as in `Drawn`


class SelfCriticalStep:
    """A compiled self-critical training step.

    Args:
        recipe: The recipe: samples of an image, penalties, seed.
        captioner: The model to train.
        optimizer: A built optimizer of its trainable variables.
        judgement: What sampled captions are judged by.
        cluster: The devices that share the step; None: TensorFlow's default device.
    """

    def __init__(
        self,
        recipe: Recipe,
        captioner: Captioner,
        optimizer: keras.optimizers.Optimizer,
        judgement: Judgement,
        cluster: Cluster | None = None,
    ) -> None:
        self._cluster = cluster or one_device()
        self._recipe, self._captioner, self._optimizer = recipe, captioner, optimizer
        self._judgement = judgement
        # No word is forbidden but padding, so the samples are the policy's own.
        self._rules = Rules(START, END, max_length=judgement.max_words)
        self._replica = Replica(recipe, captioner, optimizer)
        self._differentiate = self._replica.differentiate
        if captioner.plain:
            self._differentiate = compiled(self._differentiate)
        self._sample = _traced(self._sample_shares)
        self._learn = _traced(self._learn_from_shares)

    def __call__(self, inputs: tf.Tensor, image_ids: np.ndarray) -> dict[str, tf.Tensor]:
        """Take a step.

        Args:
            inputs: Images or features of this worker's share of a batch, [B, ...].
            image_ids: Of all images of the batch.

        Returns:
            Float32 scalars of the whole batch: those of `Losses` and of `trainer.step.build_step`,
            but `entropy` (nats a word, of the policy) in place of `cross_entropy`, and the means of
            `SUMS`.
        """
        return self.learn(self.judge(self.sample(inputs, image_ids), image_ids))

    def sample(self, inputs: tf.Tensor, image_ids: np.ndarray) -> list[Drawn]:
        """Sample captions of this worker's share of a batch; arguments as for a step.

        Returns:
            The shares of its replicas.
        """
        places = np.arange(len(image_ids))[self._cluster.share]
        shares = self._cluster.replica_shares(inputs, tf.constant(places[:, None]))
        drawn = zip(shares, self._sample(shares), strict=True)
        return [Drawn(seen, ids, share.ids, share.present) for share, (seen, ids) in drawn]

    def judge(self, shares: Sequence[Drawn], image_ids: np.ndarray) -> list[Sampled]:
        """Compute the advantages of captions, and count their faults.

        Args:
            shares: What `sample` returned.
            image_ids: Of all images of the batch.
        """
        return [self._judge_share(share, image_ids) for share in shares]

    def learn(self, shares: Sequence[Sampled]) -> dict[str, tf.Tensor]:
        """Update the weights.

        Args:
            shares: What `judge` returned.

        Returns:
            The scalars of the step.
        """
        return self._learn(shares)

    def _sample_shares(self, shares: Sequence[Share]) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Sample captions of all images of this worker, on its replicas."""
        results = self._run(lambda: self._sample_share(shares[self._cluster.local_replica()]))
        return list(zip(*results, strict=True))

    def _sample_share(self, share: Share) -> tuple[tf.Tensor, tf.Tensor]:
        """Return `inputs` and `ids` of `Drawn`, for one replica."""
        features = self._dropped(self._captioner.features(share.inputs))
        places = tf.cast(share.ids[:, 0], tf.int64)
        numbers = tf.cast(self._optimizer.iterations, tf.int64) * _MAX_BATCH + places
        seeds = tf.stack(
            [tf.fill(tf.shape(numbers), tf.cast(self._recipe.seed, tf.int64)), numbers], 1
        )
        words = draw(self._captioner, features, self._rules, seeds, self._recipe.scst_samples).ids
        lengths = tf.math.count_nonzero(words, -1)
        order = tf.argsort(lengths, -1, "DESCENDING", stable=True)
        words = tf.gather(words, order, batch_dims=1)
        ids = tf.pad(words, [[0, 0], [0, 0], [1, 0]], constant_values=START)
        return (share.inputs if self._captioner.encoder.trainable else features), ids

    def _dropped(self, features: tf.Tensor) -> tf.Tensor:
        """Apply dropout to features, unless the encoder is trained and computes them again."""
        rate = self._recipe.dropout
        if not rate or self._captioner.encoder.trainable:
            return features
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        number = tf.cast(self._optimizer.iterations, tf.int32) * self._cluster.replicas + replica
        seed = tf.stack([self._recipe.seed, number])
        return tf.cast(features, tf.float32) * keep_mask(tf.shape(features), rate, seed, 0)

    def _judge_share(self, share: Drawn, image_ids: np.ndarray) -> Sampled:
        captions = share.ids.numpy()[:, :, 1:]
        # The place of a blank image may be that of none.
        places = np.minimum(share.places.numpy()[:, 0], len(image_ids) - 1)
        rewards = self._judgement.reward(image_ids[places], captions)
        others = (rewards.sum(1, keepdims=True) - rewards) / (rewards.shape[1] - 1)
        sums = count_faults(captions, self._judgement.unfinished) | {"reward": rewards.sum()}
        counted = [sums[name] if share.present else 0.0 for name in SUMS]
        return Sampled(
            share.inputs,
            few_lengths(share.ids) if self._captioner.plain else share.ids,
            tf.constant(rewards - others, tf.float32),
            tf.constant(counted, tf.float32),
            share.present,
        )

    def _learn_from_shares(self, shares: Sequence[Sampled]) -> dict[str, tf.Tensor]:
        """Update the weights with all images of this worker, on its replicas."""
        results = self._run(lambda: self._learn_from(shares[self._cluster.local_replica()]))
        return {name: values[0] for name, values in results.items()}

    def _learn_from(self, share: Sampled) -> dict[str, tf.Tensor]:
        """Update the weights on one replica."""
        counts = [tf.where(share.present, count, 0.0) for count in count_words(share.ids)]
        words, captions, sums = self._summed((*counts, share.sums))
        result, gradients = self._summed(
            self._differentiate(
                share.inputs,
                share.ids,
                tf.zeros([2], tf.int32),  # of dropout, and no more is applied
                share.present,
                BatchTotals(words, captions, self._cluster.replicas),
                share.advantages,
            )
        )
        scalars = self._replica.update(result, gradients, words, captions)
        # The mean of -log p over sampled words is an unbiased estimate of the policy's entropy.
        scalars["entropy"] = scalars.pop("cross_entropy")
        means = zip(SUMS, tf.unstack(sums / captions), strict=True)
        return scalars | dict(means)

    def _run(self, of_replica: Callable[[], Any]) -> Any:
        """Run a function on every replica; its result has a list over replicas for each tensor."""
        local = self._cluster.strategy.experimental_local_results
        return tf.nest.map_structure(local, self._cluster.strategy.run(of_replica))

    def _summed(self, values: Any) -> Any:
        """Sum tensors over all replicas."""
        if self._cluster.replicas == 1:
            return values
        return tf.distribute.get_replica_context().all_reduce("SUM", values)


def _traced(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Compile a function of shares into one graph for shares of all sizes."""
    graphs = tf.function(function, autograph=False)

    def call(shares: Sequence[Share | Sampled]) -> Any:
        sizes = [
            type(share)(
                tf.TensorSpec([None, *share.inputs.shape[1:]], share.inputs.dtype),
                *(tf.TensorSpec(_any_size(tensor), tensor.dtype) for tensor in share[1:]),
            )
            for share in shares
        ]
        return graphs.get_concrete_function(sizes)(shares)

    return call


def _any_size(tensor: tf.Tensor) -> list[int | None]:
    """Return the shape of a tensor, any size along each axis but those of a vector."""
    return [None] * len(tensor.shape) if len(tensor.shape) > 1 else list(tensor.shape)
