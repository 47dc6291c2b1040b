"""CNN features in the job: decoding, preprocessing and network are those of training.

TensorFlow is imported inside functions only: the job's graph is built without it, and a job without
features needs none.
"""

import contextlib
import dataclasses
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from cli.errors import UsageError, UserError
from pipeline.config import Config

# Images that go through the network together; one shape, so that nothing is traced twice.
CPU_BATCH, GPU_BATCH = 16, 64
_lock = threading.Lock()
_extractors: dict[tuple, "Extractor"] = {}


def settled(config: Config) -> Config:
    """`config` with defaults for what --features leaves open.

    Raises:
        UsageError: flags that contradict each other.
    """
    if not config.features:
        for name in ("store", "feature_dtype", "encoder_weights"):
            value = getattr(config, name)
            if value not in (None, "image"):
                raise UsageError(f"--{name}={value} needs --features=ENCODER, such as nasnet_large")
        return dataclasses.replace(config, store="image")
    if config.store == "image":
        raise UsageError(
            f"--store=image leaves out what --features={config.features} computes; give"
            " --store=features or --store=both, or leave --features out"
        )
    return dataclasses.replace(
        config,
        store=config.store or "features",
        feature_dtype=config.feature_dtype or _fast_dtype(),
        encoder_weights=config.encoder_weights or "imagenet",
    )


def with_encoder(config: Config) -> tuple[Config, list[str]]:
    """(`config` with `encoder` told, what the user should know): before the job, on this machine.

    Raises:
        UsageError: no such encoder.
        UserError: TensorFlow or the encoder's weights cannot be had.
    """
    if not config.features:
        return config, []
    encoder = _build(config)
    from model.encoder import PREPROCESSING_VERSION

    told = {
        "name": config.features,
        "weights": encoder.fingerprint(),
        "input_size": encoder.spec.size,
        "grid": list(encoder.spec.grid),
        "preprocessing": PREPROCESSING_VERSION,
        "dtype": config.feature_dtype,
    }
    grid = " x ".join(map(str, encoder.spec.grid))
    place = "beside the images" if config.store == "both" else "in place of the images"
    remark = (
        f"features of {config.features} ({config.encoder_weights} weights"
        f" {told['weights'][:8]}): {grid}, computed in {config.feature_dtype}, stored {place}"
    )
    return dataclasses.replace(config, encoder=told), [remark]


def extractor(config: Config) -> "Extractor":
    """The extractor of this process, shared by its threads.

    Raises:
        UserError: the weights here are not those that the job was started with.
    """
    key = (config.features, config.feature_dtype, config.encoder["weights"])
    with _lock:
        if key not in _extractors:
            _limit_threads(config)
            encoder = _build(config)
            if encoder.fingerprint() != config.encoder["weights"]:
                raise UserError(
                    f"--encoder_weights={config.encoder_weights}: this worker finds other weights"
                    " there than the machine that started the job; give a path that leads all"
                    " workers to the same file"
                )
            _extractors.clear()  # one model a process
            _extractors[key] = Extractor(encoder, config.feature_dtype)
        return _extractors[key]


class Extractor:
    """Encoded images -> features, with one frozen network.

    Call arguments:
        encoder: a `model.encoder.Encoder`.
        dtype: of the network's wide products: float32 or bfloat16.
        batch_size: images that go through it together; by default what suits the device.

    Attributes:
        device: "cpu" or the GPU's name.
    """

    def __init__(self, encoder, dtype: str, batch_size: int | None = None):
        import tensorflow as tf

        from model.fast import frozen_encoder as frozen

        gpus = tf.config.list_physical_devices("GPU")
        details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
        self.device = details.get("device_name", "gpu") if gpus else "cpu"
        self.batch_size = batch_size or (GPU_BATCH if gpus else CPU_BATCH)
        self._network = frozen.FrozenEncoder(encoder, dtype, self.batch_size)
        threads = tf.config.threading.get_intra_op_parallelism_threads() or _cores()
        self._decoders = ThreadPoolExecutor(threads)

    def __call__(self, images: Sequence[bytes]) -> list[np.ndarray | None]:
        """JPEGs -> float16 [H, W, D] of each, in their order; None for one that has no pixels."""
        pixels = list(self._decoders.map(self._decode, images))
        readable = [index for index, image in enumerate(pixels) if image is not None]
        features: list[np.ndarray | None] = [None] * len(images)
        for start in range(0, len(readable), self.batch_size):
            together = readable[start : start + self.batch_size]
            grids = self._network(np.stack([pixels[index] for index in together]))
            for index, grid in zip(together, grids, strict=True):
                features[index] = grid
        return features

    def _decode(self, image: bytes) -> np.ndarray | None:
        import tensorflow as tf

        from model.encoder import decode

        try:
            with tf.device("cpu"):
                return decode(tf.constant(image), self._network.spec.size).numpy()
        except tf.errors.InvalidArgumentError:
            return None


def _build(config: Config):
    """The encoder that the flags name.

    Raises:
        UsageError: there is none of that name.
        UserError: TensorFlow or its weights cannot be had.
    """
    import cli.tensorflow_log  # noqa: F401  before TensorFlow

    try:
        import keras

        from model.encoder import ENCODERS, Encoder, WeightsError
    except ImportError as error:
        raise UserError(
            f"--features needs TensorFlow ({error}); install it here and on every worker:"
            " `pip install .[features]`"
        ) from None
    if config.features not in ENCODERS:
        raise UsageError(
            f"--features={config.features}: no such encoder; there are {', '.join(ENCODERS)}"
        )
    try:
        # Random weights are a function of the seed, here and on every worker.
        keras.utils.set_random_seed(config.seed)
        return Encoder(config.features, config.encoder_weights)
    except WeightsError as error:
        raise UserError(str(error)) from None


def _fast_dtype() -> str:
    """bfloat16 where this CPU multiplies in it, else float32."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = set(next(line for line in file if line.startswith("flags")).split())
    except (OSError, StopIteration):
        return "float32"
    return "bfloat16" if flags & {"avx512_bf16", "amx_bf16"} else "float32"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _limit_threads(config: Config) -> None:
    """An equal share of the cores for each of the job's processes on this machine, and no more of
    a GPU's memory than is used. OMP_NUM_THREADS, which clusters set, says otherwise.
    """
    import tensorflow as tf

    options = PipelineOptions(list(config.beam_args)).view_as(DirectOptions)
    many = config.engine == "local" and options.direct_running_mode == "multi_processing"
    processes = (options.direct_num_workers or _cores()) if many else 1
    threads = int(os.environ.get("OMP_NUM_THREADS", 0)) or max(1, _cores() // processes)
    with contextlib.suppress(RuntimeError):  # TensorFlow has been at work here before
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
