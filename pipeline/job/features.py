"""Features in the job, computed by the decoding, preprocessing and network of training.

Functions import TensorFlow when they run: building the job's graph does not need it, nor does a job
without features.
"""

import contextlib
import os
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from cli import foreign_variables, processor
from cli.errors import UsageError, UserError
from pipeline.config import Config, FeatureConfig
from pixels.standard import StandardImage
from records.manifest import EncoderInfo

if TYPE_CHECKING:
    from model.encoder import Encoder

# Images in a batch. All batches have one shape, so that the network is traced once.
CPU_BATCH, GPU_BATCH = 16, 64
_lock = threading.Lock()
# At most one, by encoder, dtype and fingerprint of the weights.
_extractors: dict[tuple[str, str, str], "Extractor"] = {}


def load_config(encoder: str, weights: str, dtype: str, seed: int) -> FeatureConfig:
    """Load an encoder on this machine, before the job starts, and say what its features are.

    Args:
        encoder: Name of the encoder.
        weights: `imagenet`, `random` or a file.
        dtype: Precision of the matrix products, float32 or bfloat16.
        seed: Seed of random weights.

    Raises:
        UsageError: There is no such encoder.
        UserError: TensorFlow or the encoder's weights cannot be had.
    """
    network = _build(encoder, weights, seed)
    from model.encoder import PREPROCESSING_VERSION

    info = EncoderInfo(
        name=encoder,
        weights=network.fingerprint(),
        input_size=network.spec.size,
        grid=network.spec.grid,
        preprocessing=PREPROCESSING_VERSION,
        dtype=dtype,
    )
    return FeatureConfig(weights, info)


def extractor(config: Config, features: FeatureConfig) -> "Extractor":
    """Return the extractor of this process, which its threads share.

    Args:
        config: The job's configuration.
        features: `config.features`, which is not None.

    Raises:
        UserError: The weights here are not those that the job was started with.
    """
    info = features.info
    key = (info.name, info.dtype, info.weights)
    with _lock:
        if key not in _extractors:
            _limit_threads(config)
            network = _build(info.name, features.weights, config.seed)
            if network.fingerprint() != info.weights:
                raise UserError(
                    f"--encoder_weights={features.weights}: this worker finds other weights"
                    " there than the machine that started the job; give a path that leads all"
                    " workers to the same file"
                )
            _extractors.clear()  # Networks are large.
            _extractors[key] = Extractor(network, info.dtype)
        return _extractors[key]


class Extractor:
    """Computes the features of encoded images with one frozen network.

    Args:
        encoder: The encoder to freeze.
        dtype: Precision of the network's wide matrix products, float32 or bfloat16.
        batch_size: Images in a batch; None for what suits the device.

    Attributes:
        device: "cpu" or the GPU's name.
        batch_size: Images in a batch.
    """

    def __init__(self, encoder: "Encoder", dtype: str, batch_size: int | None = None):
        import tensorflow as tf

        from model.fast import frozen_encoder as frozen

        gpus = tf.config.list_physical_devices("GPU")
        details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
        self.device = details.get("device_name", "gpu") if gpus else "cpu"
        self.batch_size = batch_size or (GPU_BATCH if gpus else CPU_BATCH)
        self._network = frozen.FrozenEncoder(encoder, dtype, self.batch_size)
        threads = tf.config.threading.get_intra_op_parallelism_threads() or _cores()
        self._decoders = ThreadPoolExecutor(threads)

    def __call__(self, images: Sequence[StandardImage]) -> list[np.ndarray | None]:
        """Return the features of images, float16 [H, W, D] each; None for one without pixels."""
        decoded = enumerate(self._decoders.map(self._decode, images))
        readable = [(index, pixels) for index, pixels in decoded if pixels is not None]
        features: list[np.ndarray | None] = [None] * len(images)
        for start in range(0, len(readable), self.batch_size):
            batch = readable[start : start + self.batch_size]
            grids = self._network(np.stack([pixels for _, pixels in batch]))
            for (index, _), grid in zip(batch, grids, strict=True):
                features[index] = grid
        return features

    def _decode(self, image: StandardImage) -> np.ndarray | None:
        import tensorflow as tf

        from model.decoding import decode

        try:
            with tf.device("cpu"):
                size = self._network.spec.size
                return decode(tf.constant(image.encoded), image.orientation, size).numpy()
        except tf.errors.InvalidArgumentError:
            return None


def _build(name: str, weights: str, seed: int) -> "Encoder":
    """Return the encoder that the flags name.

    Raises:
        UsageError: There is none of that name.
        UserError: TensorFlow or the weights cannot be had.
    """
    try:
        import cli.start_tensorflow  # noqa: F401  (before TensorFlow is imported)
        from model.encoder import ENCODERS, Encoder
        from model.encoder_weights import WeightsError
    except ImportError as error:
        raise UserError(
            f"--features needs TensorFlow ({error}); install it here and on every worker:"
            " `pip install .[features]`"
        ) from None
    from keras.src.random import seed_generator  # Private API: keras 3.15.1.

    if name not in ENCODERS:
        raise UsageError(f"--features={name}: no such encoder; there are {', '.join(ENCODERS)}")
    try:
        # Random weights are a function of the seed, here and on every worker. Other threads of a
        # worker use Python's own generator meanwhile.
        with mock.patch.object(seed_generator, "python_random", random.Random(seed)):
            return Encoder(name, weights)
    except WeightsError as error:
        raise UserError(str(error)) from None


def fast_dtype() -> str:
    """Return bfloat16 where this CPU multiplies in it, else float32."""
    return "bfloat16" if processor.multiplies_bfloat16() else "float32"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _limit_threads(config: Config) -> None:
    """Limit this process to its share of the cores, and of a GPU's memory to what it uses.

    The job's processes on this machine share its cores equally, unless OMP_NUM_THREADS, which
    clusters set, says otherwise.
    """
    import tensorflow as tf

    options = PipelineOptions(list(config.beam_args)).view_as(DirectOptions)
    several = config.engine == "local" and options.direct_running_mode == "multi_processing"
    processes = (options.direct_num_workers or _cores()) if several else 1
    threads = foreign_variables.threads("OMP_NUM_THREADS") or max(1, _cores() // processes)
    with contextlib.suppress(RuntimeError):  # TensorFlow has already started in this process.
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
