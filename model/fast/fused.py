"""The recurrence between its matrix products: small functions that XLA compiles into few passes.

XLA does not get the products themselves: its own products on CPUs do not use bfloat16 units, those
of oneDNN do. Names, rows and formulas are those of `model/fast/recurrence.py`. `sizes` are (U, A).
What is called `low` has the dtype of the products; everything else is float32.
"""

import functools

import tensorflow as tf

from model.fast.rows import by_image, by_row

Sizes = tuple[int, int]

_fused = functools.partial(tf.function, autograph=False, jit_compile=True, reduce_retracing=True)


def _exp_query(product: tf.Tensor, sizes: Sizes) -> tf.Tensor:
    """Return exp(2 q): [rows, A]."""
    units, attention = sizes
    return _exp2(tf.cast(product[:, 4 * units : 4 * units + attention], tf.float32))


def _exp2(x: tf.Tensor) -> tf.Tensor:
    """Return exp(2 x), finite and above 0: exact where x is between -43.5 and 43.5.

    A product of two of them may overflow: 1 / (1 + inf) is the limit, 0.
    """
    return tf.exp(tf.clip_by_value(2.0 * x, -87.0, 87.0))


def _beta(product: tf.Tensor, bias: tf.Tensor, sizes: Sizes) -> tf.Tensor:
    """Return the gate on the context: [rows, D']."""
    units, attention = sizes
    return tf.sigmoid(tf.cast(product[:, 4 * units + attention :], tf.float32) + bias)


@_fused
def exp_keys(keys: tf.Tensor) -> tf.Tensor:
    """Return exp(2 keys): [B, L, A] -> [L, B, A]."""
    return _exp2(tf.transpose(keys, [1, 0, 2]))


@_fused
def attend(
    product: tf.Tensor, exp_keys: tf.Tensor, score: tf.Tensor, sizes: Sizes
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return alpha twice: as rows [n B, L], and low by image [B, n, L] for the next product."""
    locations, images, attention = tf.unstack(tf.shape(exp_keys))
    query = tf.reshape(_exp_query(product, sizes), [-1, 1, images, attention])
    x = 1.0 / (1.0 + exp_keys * query)  # [n, L, B, A]
    alpha = tf.nn.softmax(tf.tensordot(x, -2.0 * score, 1), 1)  # [n, L, B]
    rows = tf.reshape(tf.transpose(alpha, [0, 2, 1]), [-1, locations])
    return rows, tf.cast(tf.transpose(alpha, [2, 0, 1]), product.dtype)


@_fused
def gate_context(
    product: tf.Tensor, context: tf.Tensor, bias: tf.Tensor, sizes: Sizes, gate: bool
) -> tf.Tensor:
    """Return low z, the gated context: [B, n, D'] -> rows [n B, D']."""
    rows = by_row(context)
    if not gate:
        return rows
    return tf.cast(_beta(product, bias, sizes) * tf.cast(rows, tf.float32), product.dtype)


@_fused
def lstm_cell(
    gates: tf.Tensor, product: tf.Tensor, z_gates: tf.Tensor, c: tf.Tensor, units: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Update the LSTM's state.

    Args:
        gates: [n B, 4U], the words' part.
        product: low [n B, ...], whose first 4U columns are the recurrent part.
        z_gates: low [n B, 4U], the context's part, z W_z.
        c: [n B, U], before the word.
        units: U.

    Returns:
        h [n B, U], low h, c [n B, U], and the activations [n B, 4U] in the order i, f, g, o.
    """
    gates += tf.cast(product[:, : 4 * units], tf.float32) + tf.cast(z_gates, tf.float32)
    i, f, g, o = tf.split(gates, 4, 1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    c = f * c + i * g
    h = o * tf.tanh(c)
    return h, tf.cast(h, product.dtype), c, tf.concat([i, f, g, o], 1)


@_fused
def lstm_cell_backward(
    d_h: tf.Tensor, low_d_h: tf.Tensor, d_c: tf.Tensor, activations: tf.Tensor, c: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the gradients of the gates (low dG [n B, 4U]) and of c before the word [n B, U].

    Args:
        d_h: [n B, U], what comes from outside the loop.
        low_d_h: low [n B, U], what the next word passed back.
        d_c: [n B, U], what the next word passed back.
        activations: [n B, 4U], from `lstm_cell`.
        c: [n B, U], before the word.
    """
    i, f, g, o = tf.split(activations, 4, 1)
    d_h += tf.cast(low_d_h, tf.float32)
    tanh_c = tf.tanh(f * c + i * g)
    d_c += d_h * o * (1.0 - tanh_c * tanh_c)
    d_gates = [
        d_c * g * i * (1.0 - i),
        d_c * c * f * (1.0 - f),
        d_c * i * (1.0 - g * g),
        d_h * tanh_c * o * (1.0 - o),
    ]
    return tf.cast(tf.concat(d_gates, 1), low_d_h.dtype), d_c * f


@_fused
def gate_context_backward(
    low_d_z: tf.Tensor,
    d_z: tf.Tensor,
    product: tf.Tensor,
    context: tf.Tensor,
    bias: tf.Tensor,
    sizes: Sizes,
    gate: bool,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Pass the gradient of z on to the context and to b = h W_beta.

    Args:
        low_d_z: low [n B, D'], dG W_z^T.
        d_z: [n B, D'], what comes from outside the loop.
        product: low [n B, ...], of the forward pass.
        context: low [B, n, D'], of the forward pass.
        bias: b_beta, [D'].
        sizes: (U, A).
        gate: whether there is a gate.

    Returns:
        Low dcontext by image [B, n, D'], the same as rows [n B, D'], and low db [n B, D'] (without
        a gate [n B, 0]).
    """
    d_z += tf.cast(low_d_z, tf.float32)
    if gate:
        beta = _beta(product, bias, sizes)
        d_b = d_z * tf.cast(by_row(context), tf.float32) * beta * (1.0 - beta)
        d_z *= beta
    else:
        d_b = d_z[:, :0]
    rows = tf.cast(d_z, product.dtype)
    return by_image(rows, tf.shape(context)[0]), rows, tf.cast(d_b, product.dtype)


@_fused
def attend_backward(
    low_d_alpha: tf.Tensor,
    d_alpha: tf.Tensor,
    alpha: tf.Tensor,
    product: tf.Tensor,
    exp_keys: tf.Tensor,
    score: tf.Tensor,
    d_gates: tf.Tensor,
    d_b: tf.Tensor,
    sizes: Sizes,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Pass the gradient of alpha on to q and v.

    Args:
        low_d_alpha: low [B, n, L], dcontext . a'.
        d_alpha: [n B, L], what comes from outside the loop.
        alpha: [n B, L], of the forward pass.
        product: low [n B, ...], of the forward pass.
        exp_keys: [L, B, A].
        score: v, [A].
        d_gates: low dG, [n B, 4U].
        d_b: low db, [n B, D'].
        sizes: (U, A).

    Returns:
        Low [dG | dq | db] [n B, 4U + A + D'], de [n B, L], and this word's dv [A].
    """
    locations, images, attention = tf.unstack(tf.shape(exp_keys))
    d_alpha += tf.cast(by_row(low_d_alpha), tf.float32)
    d_energy = alpha * (d_alpha - tf.reduce_sum(alpha * d_alpha, 1, keepdims=True))
    by_location = tf.reshape(tf.transpose(d_energy), [locations, -1, images, 1])
    query = tf.reshape(_exp_query(product, sizes), [-1, images, attention])

    # One location at a time: a pass over [n, B, A] stays in the cache.
    def body(
        location: tf.Tensor, de_x_sum: tf.Tensor, de_xx_sum: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        x = 1.0 / (1.0 + exp_keys[location] * query)
        de_x = by_location[location] * x
        return location + 1, de_x_sum + de_x, de_xx_sum + de_x * (1.0 - x)

    zeros = tf.zeros_like(query)
    _, de_x_sum, de_xx_sum = tf.while_loop(
        lambda location, *_: location < locations, body, (0, zeros, zeros)
    )
    d_query = tf.reshape(4.0 * score * de_xx_sum, [-1, attention])
    joint = tf.concat([d_gates, tf.cast(d_query, d_gates.dtype), d_b], 1)
    return joint, d_energy, -2.0 * tf.reduce_sum(de_x_sum, [0, 1])


@_fused
def keys_backward(
    product: tf.Tensor, d_energy: tf.Tensor, exp_keys: tf.Tensor, score: tf.Tensor, sizes: Sizes
) -> tf.Tensor:
    """Return the gradient of the keys, [B, L, A], from the rows of all words.

    Args:
        product: low [M B, ...], of the forward pass.
        d_energy: de, [M B, L].
        exp_keys: [L, B, A].
        score: v, [A].
        sizes: (U, A).
    """
    locations, images, attention = tf.unstack(tf.shape(exp_keys))
    query = tf.reshape(_exp_query(product, sizes), [-1, images, attention])
    d_energy = tf.transpose(tf.reshape(d_energy, [-1, images, locations]), [0, 2, 1])[..., None]
    slot_count = tf.shape(query)[0]

    def body(slot: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = 1.0 / (1.0 + exp_keys * query[slot])
        return slot + 1, total + d_energy[slot] * x * (1.0 - x)

    total = tf.zeros_like(exp_keys)
    _, total = tf.while_loop(lambda slot, _: slot < slot_count, body, (0, total))
    return tf.transpose(4.0 * score * total, [1, 0, 2])
