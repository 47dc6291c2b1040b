"""The devices that share the steps of a run: those of this machine, or of several.

What is there decides: the workers that TF_CONFIG names (`MultiWorkerMirroredStrategy`), all GPUs
where there are several (`MirroredStrategy`), else the one device that TensorFlow takes.

--batch_size is of them all. Every worker knows the order of training, so that it reads only its own
share of a batch, and the workers tell each other nothing but sums: of words and captions, then of
gradients. The first worker, the chief, alone reads and writes the run's folder; the others have its
weights and what it decides.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from cli.errors import UsageError, UserError

_EXAMPLE = (
    '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}'
)
# What a collective operation fails with when another worker does not answer any more.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Cluster:
    """The workers (processes) of a run and the replicas (devices) that each of them has.

    Attributes:
        strategy: of `tf.distribute`; variables are made in its scope.
        worker, workers: which process this is, of how many.
        chief: whether this one reads and writes the run's folder.
        replicas: devices of all workers; every worker has as many.
    """

    def __init__(self, strategy: tf.distribute.Strategy, worker: int = 0, workers: int = 1):
        self.strategy, self.worker, self.workers = strategy, worker, workers
        self.chief = worker == 0
        self.replicas = strategy.num_replicas_in_sync

        @tf.function(autograph=False, reduce_retracing=True)
        def summed(values: tf.Tensor) -> tf.Tensor:
            def of_replica():
                mine = tf.identity(values) if self.local_replica() == 0 else tf.zeros_like(values)
                return tf.distribute.get_replica_context().all_reduce("SUM", mine)

            return strategy.experimental_local_results(strategy.run(of_replica))[0]

        self._summed = summed

    def local_replica(self) -> int:
        """Which of this worker's replicas runs, inside `strategy.run`."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return int(tf.get_static_value(replica)) % (self.replicas // self.workers)

    def parts(
        self, inputs: tf.Tensor, ids: tf.Tensor
    ) -> list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        """What each replica of this worker computes of the worker's share of a batch.

        Call arguments:
            inputs: [B, ...]. ids: [B, N, T]. B may be 0.

        Returns: (inputs, ids, whether they count): a replica without an image has one of zeros that
        does not.
        """
        local = self.replicas // self.workers
        parts = []
        for replica in range(local):
            mine = inputs[replica::local], ids[replica::local]
            present = mine[1].shape[0] > 0
            if not present:
                nothing = tf.zeros([1, *inputs.shape[1:]], inputs.dtype)
                mine = nothing, tf.ones([1, *ids.shape[1:]], ids.dtype)
            parts.append((*mine, tf.constant(present)))
        return parts

    def any(self, flag: bool) -> bool:
        """Whether a worker says so. All of them must ask; who is first waits for the others."""
        return flag if self.workers == 1 else bool(self._sum(np.float32([flag]))[0])

    def wait(self) -> None:
        """Until all workers are here."""
        self.any(False)

    def from_chief(self, values: list[int]) -> list[int]:
        """The chief's values, whatever the others'; all must ask."""
        return values if self.workers == 1 else self._of_chief(np.int64(values)).tolist()

    def adopt(self, variables: Iterable[keras.Variable]) -> None:
        """Give every worker the chief's values of these."""
        if self.workers > 1:
            for variable in variables:
                value = variable.numpy()
                variable.assign(self._of_chief(value.reshape(-1)).reshape(value.shape))

    def require_same(self, fingerprint: int) -> None:
        """Hold that all workers were started alike.

        Call arguments:
            fingerprint: below 2^63, of all that must be the same.

        Raises:
            UsageError: this worker's or another's is not the chief's.
        """
        if self.any(self.from_chief([fingerprint]) != [fingerprint]):
            raise UsageError(
                "the workers in TF_CONFIG do not train the same: start all of them with the same"
                " flags, on the same records and the same version of the code"
            )

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turns the loss of another worker into a line for the user."""
        try:
            yield
        except _LOST as error:
            if self.workers == 1:
                raise
            raise UserError(
                f"worker {self.worker}: another of the {self.workers} workers is gone or cannot be"
                f" reached ({type(error).__name__}); run the same command on all of them to go on"
                " from the last checkpoint"
            ) from None

    def _of_chief(self, values: np.ndarray) -> np.ndarray:
        return self._sum(values if self.chief else np.zeros_like(values))

    def _sum(self, values: np.ndarray) -> np.ndarray:
        return self._summed(tf.constant(values)).numpy()


def alone() -> Cluster:
    """TensorFlow's one device."""
    return Cluster(tf.distribute.get_strategy())


def join() -> Cluster:
    """The cluster of what is there; to be called before anything of TensorFlow runs.

    Raises:
        UsageError: TF_CONFIG is not what it has to be.
        UserError: the other workers cannot be reached.
    """
    worker, workers = task(os.environ.get("TF_CONFIG", ""))
    if workers > 1:
        print(f"worker {worker} of {workers}: waiting for the others", file=sys.stderr)
        try:
            return Cluster(tf.distribute.MultiWorkerMirroredStrategy(), worker, workers)
        except tf.errors.OpError as error:
            raise UserError(
                f"worker {worker}: cannot join the workers in TF_CONFIG"
                f" ({str(error).splitlines()[0]}); is its port free, and the others' reachable?"
            ) from None
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return Cluster(tf.distribute.MirroredStrategy())
    return alone()


def task(tf_config: str) -> tuple[int, int]:
    """TF_CONFIG -> which worker this is, of how many; "" is the only one.

    Raises:
        UsageError: it does not describe a cluster of workers, and one of them.
    """
    if not tf_config:
        return 0, 1
    try:
        found = json.loads(tf_config)
        cluster, (kind, index) = found["cluster"], (found["task"][k] for k in ("type", "index"))
        if cluster.keys() - {"chief", "worker"}:
            raise ValueError(f"its jobs are {', '.join(sorted(cluster))}")
        first = len(cluster.get("chief", []))
        if not 0 <= int(index) < len(cluster[kind]):
            raise ValueError(f"there is no {kind} {index}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"TF_CONFIG: expected {_EXAMPLE}, found {tf_config[:200]!r}"
            f" ({type(error).__name__}: {error})"
        ) from None
    return int(index) + (first if kind == "worker" else 0), sum(map(len, cluster.values()))
