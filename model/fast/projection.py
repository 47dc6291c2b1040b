"""From the deep output to the loss of a word: the vocabulary projection, softmax, loss and its
gradient, fast on CPUs.

With logits x = d W + b, p = softmax(x) and a target that puts 1 - s on word y and s / V on all,

    loss = log sum exp x - (1 - s) x_y - s mean x
    d loss / d x = p - (1 - s) onehot(y) - s / V

so that the gradient does not depend on what the loss is used for: one fused pass over the logits
gives loss and gradient, and the backward pass is the two products with it. The weight of a word's
loss multiplies d, V / E times smaller than the logits.
"""

import tensorflow as tf

from model.definition.precision import PRECISIONS

DTYPES = dict(zip(PRECISIONS, (tf.float32, tf.bfloat16), strict=True))


def word_losses(
    deep: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    label_smoothing: float,
    precision: str,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Loss of each word, smoothed and not; the second carries no gradient.

    Call arguments:
        deep: [R, E] float32. kernel: [E, V] float32. bias: [V] float32. targets: [R] int32.
        label_smoothing: s. precision: of the products.

    Returns: two [R] float32.
    """
    dtype = DTYPES[precision]

    @tf.custom_gradient
    def run(deep, kernel, bias):
        low, low_kernel = tf.cast(deep, dtype), tf.cast(kernel, dtype)
        smoothing = tf.constant(label_smoothing, tf.float32)
        losses, nll, gradient = _fused(tf.matmul(low, low_kernel), bias, targets, smoothing)

        def backward(d_losses, _):
            weights = tf.convert_to_tensor(d_losses)[:, None]
            d_deep = tf.cast(tf.matmul(gradient, low_kernel, transpose_b=True), tf.float32)
            low_weights = tf.cast(weights, dtype)
            d_kernel = tf.matmul(low * low_weights, gradient, transpose_a=True)
            d_bias = tf.matmul(low_weights, gradient, transpose_a=True)[0]
            return weights * d_deep, tf.cast(d_kernel, tf.float32), tf.cast(d_bias, tf.float32)

        return (losses, nll), backward

    return run(deep, kernel, bias)


@tf.function(autograph=False, jit_compile=True, reduce_retracing=True)
def _fused(logits, bias, targets, smoothing):
    """logits [R, V] without their bias -> loss [R], nll [R], d loss / d logits [R, V]."""
    x = tf.cast(logits, tf.float32) + bias
    words = tf.shape(x)[1]
    highest = tf.reduce_max(x, 1, keepdims=True)
    exp = tf.exp(x - highest)
    # Products with ones: reduce_sum along the last axis is not vectorised.
    ones = tf.ones([words, 1])
    total = tf.matmul(exp, ones)
    log_total = highest + tf.math.log(total)
    nll = (log_total - tf.gather(x, targets[:, None], batch_dims=1))[:, 0]
    even = (log_total - tf.matmul(x, ones) / tf.cast(words, tf.float32))[:, 0]
    share = smoothing / tf.cast(words, tf.float32)
    hot = tf.range(words)[None] == targets[:, None]
    gradient = exp / total - tf.where(hot, 1.0 - smoothing + share, share)
    return (1.0 - smoothing) * nll + smoothing * even, nll, tf.cast(gradient, logits.dtype)
