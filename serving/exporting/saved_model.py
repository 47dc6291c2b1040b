"""The SavedModel of a bundle, as TensorFlow Serving takes it."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from serving.bundle.layout import BATCH_SIZES, DEFAULT_SIGNATURE, PIXELS_SIGNATURE
from serving.exporting.graph import ExportedCaptioner

# TensorFlow Serving fills a batch up to one of the allowed sizes. A timeout of 0 never waits: while
# a batch is computed, the next one gathers.
BATCHING_CONFIG = "".join(
    (
        f"max_batch_size {{ value: {BATCH_SIZES[-1]} }}\n",
        "batch_timeout_micros { value: 0 }\n",
        "max_enqueued_batches { value: 64 }\n",
        *(f"allowed_batch_sizes: {size}\n" for size in BATCH_SIZES),
    )
)
# Where TensorFlow Serving looks for the requests that it answers before it is ready.
_WARMUP = os.path.join("assets.extra", "tf_serving_warmup_requests")


def write(exported: ExportedCaptioner, folder: str, warmup: Sequence[bytes]) -> None:
    """Write a SavedModel with the signatures `serving_default` and `pixels`.

    Args:
        exported: The captioner.
        folder: The folder to make; its name must be a number for TensorFlow Serving.
        warmup: JPEG or PNG files, 1 or more, that the server captions before it is ready.
    """
    module = tf.Module()
    module.weights = exported.variables
    side = exported.size
    signatures = {
        DEFAULT_SIGNATURE: _signature(
            exported.captions_of_files, tf.TensorSpec([None], tf.string, "image_bytes")
        ),
        PIXELS_SIGNATURE: _signature(
            exported.captions, tf.TensorSpec([None, side, side, 3], tf.float32, "pixels")
        ),
    }
    tf.saved_model.save(module, folder, signatures)
    path = os.path.join(folder, _WARMUP)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as file:
        for request in _requests(warmup):
            file.write(request.SerializeToString())


def _signature(
    function: Callable[[tf.Tensor], dict[str, tf.Tensor]], argument: tf.TensorSpec
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    return tf.function(function, input_signature=[argument], autograph=False)


def _requests(images: Sequence[bytes]) -> Iterator[Any]:
    """Yield a PredictionLog of one request of each allowed batch size."""
    # Not above: without the package `serving.export` says in one line what to install.
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    for size in BATCH_SIZES:
        batch = [images[place % len(images)] for place in range(size)]
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = DEFAULT_SIGNATURE
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(batch))
        yield prediction_log_pb2.PredictionLog(
            predict_log=prediction_log_pb2.PredictLog(request=request)
        )
