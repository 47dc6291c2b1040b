"""The LiteRT model of a bundle: one image at a time, in LiteRT's built-in operations alone."""

import contextlib
import io
import tempfile

import tensorflow as tf

from cli.errors import UserError
from serving.bundle.layout import DEFAULT_SIGNATURE
from serving.exporting.graph import ExportedCaptioner
from serving.exporting.options import INT8, NONE

# A converter that meets a variable which it cannot see writes a model without weights and is
# content. Folding the encoder's batch norms takes away only a few of them.
_LEAST_SHARE = 0.9


def write(exported: ExportedCaptioner, path: str, quantize: str) -> None:
    """Write a LiteRT model: pixels [1, S, S, 3] -> what `ExportedCaptioner.find` returns.

    Args:
        exported: The captioner.
        path: The file to write.
        quantize: How weights are stored, one of `options.QUANTIZE`. `float16`: all but the word
            vectors and the depthwise convolutions. `int8`: the decoder's kernels, and they multiply
            in int8; the encoder stays as it is.

    Raises:
        UserError: The run's network cannot be converted.
    """
    model = _converted(exported)
    if len(model) < _LEAST_SHARE * exported.weight_bytes:
        raise UserError(
            f"LiteRT's converter left out weights: the model has {len(model):,} bytes, and the"
            f" weights {exported.weight_bytes:,}; use the SavedModel, or another encoder"
        )
    if quantize != NONE:
        model = _quantized(model, quantize)
    with open(path, "wb") as file:
        file.write(model)


def _converted(exported: ExportedCaptioner) -> bytes:
    module = tf.Module()
    module.weights = exported.variables
    pixels = tf.TensorSpec([1, exported.size, exported.size, 3], tf.float32, "pixels")
    find = tf.function(exported.find, input_signature=[pixels], autograph=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, {DEFAULT_SIGNATURE: find})
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=[DEFAULT_SIGNATURE]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            return bytes(converter.convert())
        except Exception as error:  # It has its own errors and passes on those of the compiler.
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"LiteRT cannot express this network in its built-in operations ({reason}); train"
                " with another --encoder"
            ) from None


def _quantized(model: bytes, quantize: str) -> bytes:
    # Imported here: whoever does not quantise need not wait for it.
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer

    # The decoder's products are LiteRT's "fully connected", those in the loop over words too.
    operations = qtyping.TFLOperationName
    work = quantizer.Quantizer(model)
    if quantize == INT8:
        work.add_dynamic_config(".*", operations.FULLY_CONNECTED, num_bits=8)
    else:
        weights = qtyping.TensorQuantizationConfig(16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=weights,
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        for operation in (operations.FULLY_CONNECTED, operations.CONV_2D):
            work.update_quantization_recipe(
                ".*", operation, config, algorithm_manager.AlgorithmName.FLOAT_CASTING
            )
    with contextlib.redirect_stderr(io.StringIO()):  # One of its progress bars has no switch.
        result = work.quantize(enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)
