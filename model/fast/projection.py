"""From the deep output to the loss of each word, fast on CPUs.

The vocabulary's projection, softmax, loss and its gradient are the largest part of a word. With the
logits x = d W + b, p = softmax(x), and label smoothing s, whose target puts 1 - s on the word y and
s / V on every word,

    loss        = log sum exp x - (1 - s) x_y - s mean x
    dloss / dx  = p - (1 - s) onehot(y) - s / V

The gradient of the logits depends on nothing but the logits. So one fused pass over them returns
the loss and its gradient, and the backward pass is just the two products with that gradient. The
weight that the objective gives to a word's loss multiplies d, which is V / E times smaller than x.
"""

from collections.abc import Callable

import tensorflow as tf

from model.definition.precision import DTYPES


def word_losses(
    deep: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    label_smoothing: float,
    precision: str,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the loss of each word, with label smoothing and without it.

    Args:
        deep: d, [R, E] float32.
        kernel: W, [E, V] float32.
        bias: b, [V] float32.
        targets: y, [R] int32.
        label_smoothing: s, 0 to 1.
        precision: of the products, "float32" or "bfloat16".

    Returns:
        Two [R] float32, in nats. The second carries no gradient.
    """
    dtype = DTYPES[precision]

    @tf.custom_gradient
    def run(
        deep: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tuple[tf.Tensor, ...]]]:
        low, low_kernel = tf.cast(deep, dtype), tf.cast(kernel, dtype)
        smoothing = tf.constant(label_smoothing, tf.float32)
        losses, nll, gradient = _fused(tf.matmul(low, low_kernel), bias, targets, smoothing)

        def backward(d_losses: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, ...]:
            weights = tf.convert_to_tensor(d_losses)[:, None]
            d_deep = tf.cast(tf.matmul(gradient, low_kernel, transpose_b=True), tf.float32)
            low_weights = tf.cast(weights, dtype)
            d_kernel = tf.matmul(low * low_weights, gradient, transpose_a=True)
            d_bias = tf.matmul(low_weights, gradient, transpose_a=True)[0]
            return weights * d_deep, tf.cast(d_kernel, tf.float32), tf.cast(d_bias, tf.float32)

        return (losses, nll), backward

    return run(deep, kernel, bias)


@tf.function(autograph=False, jit_compile=True, reduce_retracing=True)
def _fused(
    logits: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor, smoothing: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return loss [R], nll [R] and dloss / dlogits [R, V] of logits [R, V] without their bias."""
    x = tf.cast(logits, tf.float32) + bias
    words = tf.shape(x)[1]
    highest = tf.reduce_max(x, 1, keepdims=True)
    exp = tf.exp(x - highest)
    # Sums as products with ones: XLA does not vectorise reduce_sum along the last axis.
    ones = tf.ones([words, 1])
    total = tf.matmul(exp, ones)
    log_total = highest + tf.math.log(total)
    nll = (log_total - tf.gather(x, targets[:, None], batch_dims=1))[:, 0]
    even = (log_total - tf.matmul(x, ones) / tf.cast(words, tf.float32))[:, 0]
    share = smoothing / tf.cast(words, tf.float32)
    hot = tf.range(words)[None] == targets[:, None]
    gradient = exp / total - tf.where(hot, 1.0 - smoothing + share, share)
    return (1.0 - smoothing) * nll + smoothing * even, nll, tf.cast(gradient, logits.dtype)
