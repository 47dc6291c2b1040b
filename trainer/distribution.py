"""The devices that share the training steps of a run: those of this machine, or of several.

The surroundings decide: the workers that TF_CONFIG names (`MultiWorkerMirroredStrategy`), all GPUs
of a machine with several (`MirroredStrategy`), else the one device that TensorFlow takes.

--batch_size counts the images of all devices together. Every worker knows the order of training
and reads only its own share of each batch, so all that the workers exchange is sums: of words and
captions, then of gradients. Only the first worker, the chief, reads and writes the run's folder;
the others receive its weights and its decisions.
"""

import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cli.errors import UsageError, UserError
from trainer.workers.meeting import meet
from trainer.workers.tf_config import Task

_START_SECONDS = 60  # for TensorFlow's workers to join, when all have met
# The errors of a collective operation when another worker does not answer any more.
_WORKER_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Share(NamedTuple):
    """What one replica takes of a batch."""

    inputs: tf.Tensor  # images [B, size, size, 3], or features [B, L, D]
    ids: tf.Tensor  # [B, N, T] int32
    present: tf.Tensor  # [] bool: False for a share of one blank image that must not count


class Cluster:
    """The workers (processes) of a run and the replicas (devices) of each of them.

    Args:
        strategy: Strategy of `tf.distribute`; variables are made in its scope.
        worker: Number of this process, from 0.
        workers: How many processes there are.

    Attributes:
        chief: Whether this worker reads and writes the run's folder.
        replicas: Devices of all workers together; every worker has as many.
    """

    def __init__(self, strategy: tf.distribute.Strategy, worker: int = 0, workers: int = 1) -> None:
        self.strategy, self.worker, self.workers = strategy, worker, workers
        self.chief = worker == 0
        self.replicas = strategy.num_replicas_in_sync
        # One function for all calls, so that it is traced once for each kind of value.
        self._summed = tf.function(self._all_reduce, autograph=False, reduce_retracing=True)

    @property
    def share(self) -> slice:
        """Which images of each batch this worker takes."""
        return slice(self.worker, None, self.workers)

    @property
    def _local_replicas(self) -> int:
        return self.replicas // self.workers

    def local_replica(self) -> int:
        """Return which of this worker's replicas is running, inside `strategy.run`."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return int(tf.get_static_value(replica)) % self._local_replicas

    def replica_shares(self, inputs: tf.Tensor, ids: tf.Tensor) -> list[Share]:
        """Divide this worker's share of a batch among its replicas.

        A replica without an image gets a blank one that does not count.

        Args:
            inputs: [B, ...]; B may be 0.
            ids: [B, N, T].
        """
        shares = []
        for replica in range(self._local_replicas):
            images = slice(replica, None, self._local_replicas)
            share_inputs, share_ids = inputs[images], ids[images]
            present = share_ids.shape[0] > 0
            if not present:
                share_inputs = tf.zeros([1, *inputs.shape[1:]], inputs.dtype)
                share_ids = tf.ones([1, *ids.shape[1:]], ids.dtype)
            shares.append(Share(share_inputs, share_ids, tf.constant(present)))
        return shares

    def any_worker(self, flag: bool) -> bool:
        """Tell whether the flag is set on any worker; all must call, the first waits for the last.

        Args:
            flag: This worker's.
        """
        return flag if self.workers == 1 else bool(self._sum(np.array([flag], np.float32))[0])

    def wait(self) -> None:
        """Wait until all workers are here."""
        self.any_worker(False)

    def from_chief(self, values: list[int]) -> list[int]:
        """Return the chief's values on every worker; all must call.

        Args:
            values: This worker's; only the chief's count.
        """
        return values if self.workers == 1 else self._chiefs(np.array(values, np.int64)).tolist()

    def copy_from_chief(self, variables: Iterable[keras.Variable]) -> None:
        """Give every worker the chief's values of some variables; all must call.

        Args:
            variables: The same ones, in the same order, on every worker.
        """
        if self.workers > 1:
            for variable in variables:
                value = variable.numpy()
                variable.assign(self._chiefs(value.reshape(-1)).reshape(value.shape))

    def require_same(self, fingerprint: int) -> None:
        """Check that all workers were started alike.

        Args:
            fingerprint: Below 2^63, of everything that must be the same.

        Raises:
            UsageError: The fingerprint of this worker or of another is not the chief's.
        """
        if self.any_worker(self.from_chief([fingerprint]) != [fingerprint]):
            raise UsageError(
                "the workers in TF_CONFIG do not train the same: start all of them with the same"
                " flags, on the same records and the same version of the code"
            )

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Report the loss of another worker as one line for the user.

        Raises:
            UserError: Another worker is gone.
        """
        try:
            yield
        except _WORKER_LOST as error:
            if self.workers == 1:
                raise
            raise UserError(
                f"worker {self.worker}: another of the {self.workers} workers is gone or cannot be"
                f" reached ({type(error).__name__}); run the same command on all of them to resume"
                " from the last checkpoint"
            ) from None

    def _chiefs(self, values: np.ndarray) -> np.ndarray:
        return self._sum(values if self.chief else np.zeros_like(values))

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Sum the values of all workers."""
        return self._summed(tf.constant(values)).numpy()

    def _all_reduce(self, values: tf.Tensor) -> tf.Tensor:
        def of_replica() -> tf.Tensor:
            # A worker's values count once, not once for each of its replicas.
            first = self.local_replica() == 0
            counted = tf.identity(values) if first else tf.zeros_like(values)
            return tf.distribute.get_replica_context().all_reduce("SUM", counted)

        return self.strategy.experimental_local_results(self.strategy.run(of_replica))[0]


def one_device() -> Cluster:
    """Return the cluster of one worker that has TensorFlow's default device."""
    return Cluster(tf.distribute.get_strategy())


def _start_workers(task: Task) -> tf.distribute.Strategy:
    """Start TensorFlow's workers, which wait for each other.

    That wait has no end if a worker is gone again since all have met. It holds Python's lock, so
    no Python code can end it: a signal does, by the system's own action, and faulthandler's
    watchdog, which exits with code 1.
    """
    print(
        f"worker {task.worker} of {task.workers}: all are there, TensorFlow's workers join (for up"
        f" to {_START_SECONDS} seconds; if one is gone again, run the same command on all)",
        file=sys.stderr,
    )
    handlers = {
        number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)
    }
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(_START_SECONDS, exit=True, file=nowhere)
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        finally:
            faulthandler.cancel_dump_traceback_later()
            # Its own handler of SIGTERM, too, is replaced by ours.
            for number, handler in handlers.items():
                signal.signal(number, handler)


def join(task: Task) -> Cluster:
    """Join the workers or the GPUs that are there, before TensorFlow runs anything.

    Args:
        task: Which worker this process is.

    Raises:
        UserError: The other workers cannot be reached.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        # Else TensorFlow takes all of a GPU's memory, whatever the training needs.
        tf.config.experimental.set_memory_growth(gpu, True)
    if task.workers > 1:
        meet(task)
        try:
            strategy = _start_workers(task)
            return Cluster(strategy, task.worker, task.workers)
        except tf.errors.OpError as error:
            raise UserError(
                f"worker {task.worker}: cannot join the workers in TF_CONFIG"
                f" ({str(error).splitlines()[0]}); is its port free, and the others' reachable?"
            ) from None
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return Cluster(tf.distribute.MirroredStrategy())
    return one_device()
