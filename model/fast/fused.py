"""What of the recurrence lies between its matrix products, and how its rows are laid out.

Small functions, each compiled into few passes over its numbers. (XLA is left out of the products:
its own for CPUs know no bfloat16 units.) Names, rows and formulas are those of `recurrence.py`;
sizes are (U, A).
"""

import functools

import tensorflow as tf

_fused = functools.partial(tf.function, autograph=False, jit_compile=True, reduce_retracing=True)


def _query(product, sizes):
    """exp(2 q): [rows, A]."""
    units, attention = sizes
    return _exp2(tf.cast(product[:, 4 * units : 4 * units + attention], tf.float32))


def _exp2(x):
    return tf.exp(tf.clip_by_value(2.0 * x, -44.0, 44.0))


@_fused
def exp_keys(keys):
    """keys [B, L, A] -> exp(2 keys) [L, B, A]."""
    return _exp2(tf.transpose(keys, [1, 0, 2]))


@_fused
def look(product, exp_keys, score, sizes):
    """alpha, as rows [n B, L] and, for the products, by image [B, n, L]."""
    locations, images, attention = tf.unstack(tf.shape(exp_keys))
    query = tf.reshape(_query(product, sizes), [-1, 1, images, attention])
    x = 1.0 / (1.0 + exp_keys * query)  # [n, L, B, A]
    alpha = tf.nn.softmax(tf.tensordot(x, -2.0 * score, 1), 1)  # [n, L, B]
    rows = tf.reshape(tf.transpose(alpha, [0, 2, 1]), [-1, locations])
    return rows, tf.cast(tf.transpose(alpha, [2, 0, 1]), product.dtype)


def _beta(product, bias, sizes):
    units, attention = sizes
    return tf.sigmoid(tf.cast(product[:, 4 * units + attention :], tf.float32) + bias)


@_fused
def gated(product, context, bias, sizes, gate):
    """context [B, n, D'] -> z [n B, D']."""
    rows = by_row(context)
    if not gate:
        return rows
    return tf.cast(_beta(product, bias, sizes) * tf.cast(rows, tf.float32), product.dtype)


@_fused
def cell(gates, product, inner, c, units):
    """The LSTM -> h, h for the products, c, activations [n B, 4U] in the order i, f, g, o."""
    gates += tf.cast(product[:, : 4 * units], tf.float32) + tf.cast(inner, tf.float32)
    i, f, g, o = tf.split(gates, 4, 1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    c = f * c + i * g
    h = o * tf.tanh(c)
    return h, tf.cast(h, product.dtype), c, tf.concat([i, f, g, o], 1)


@_fused
def cell_back(d_h, low_d_h, d_c, activations, c):
    """Gradients of h and c, c before -> of the gates [n B, 4U], of c before."""
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
def gated_back(low_d_z, d_z, product, context, bias, sizes, gate):
    """Of z -> of the context, by image [B, n, D'] and as rows, and of W_beta h, as rows."""
    d_z += tf.cast(low_d_z, tf.float32)
    if gate:
        beta = _beta(product, bias, sizes)
        d_beta = d_z * tf.cast(by_row(context), tf.float32) * beta * (1.0 - beta)
        d_z *= beta
    else:
        d_beta = d_z[:, :0]
    rows = tf.cast(d_z, product.dtype)
    return by_image(rows, tf.shape(context)[0]), rows, tf.cast(d_beta, product.dtype)


@_fused
def look_back(low_d_alpha, d_alpha, alpha, product, exp_keys, score, d_gates, d_beta, sizes):
    """Of alpha -> [dG | dq | dbeta] [n B, 4U + A + D'], de [n B, L], dv [A]."""
    locations, images, attention = tf.unstack(tf.shape(exp_keys))
    d_alpha += tf.cast(by_row(low_d_alpha), tf.float32)
    d_energy = alpha * (d_alpha - tf.reduce_sum(alpha * d_alpha, 1, keepdims=True))
    by_location = tf.reshape(tf.transpose(d_energy), [locations, -1, images, 1])
    query = tf.reshape(_query(product, sizes), [-1, images, attention])

    def body(at, first, second):  # a pass of [n, B, A] for each location stays in the cache
        x = 1.0 / (1.0 + exp_keys[at] * query)
        de_x = by_location[at] * x
        return at + 1, first + de_x, second + de_x * (1.0 - x)

    zeros = tf.zeros_like(query)
    _, first, second = tf.while_loop(lambda at, *_: at < locations, body, (0, zeros, zeros))
    d_query = tf.reshape(4.0 * score * second, [-1, attention])
    joint = tf.concat([d_gates, tf.cast(d_query, d_gates.dtype), d_beta], 1)
    return joint, d_energy, -2.0 * tf.reduce_sum(first, [0, 1])


@_fused
def keys_back(product, d_energy, exp_keys, score, sizes):
    """Of the keys, from all rows [M B, ...]: [B, L, A]."""
    locations, images, attention = tf.unstack(tf.shape(exp_keys))
    query = tf.reshape(_query(product, sizes), [-1, images, attention])
    d_energy = tf.transpose(tf.reshape(d_energy, [-1, images, locations]), [0, 2, 1])[..., None]
    slots = tf.shape(query)[0]

    def body(m, total):
        x = 1.0 / (1.0 + exp_keys * query[m])
        return m + 1, total + d_energy[m] * x * (1.0 - x)

    total = tf.zeros_like(exp_keys)
    _, total = tf.while_loop(lambda m, _: m < slots, body, (0, total))
    return tf.transpose(4.0 * score * total, [1, 0, 2])


def slots(rows, images):
    """[n B, X] -> [n, B, X]."""
    return tf.reshape(rows, [-1, images, rows.shape[1] or tf.shape(rows)[1]])


def by_row(x):
    """[B, n, X] -> [n B, X]."""
    return tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, tf.shape(x)[2]])


def by_image(rows, images):
    """[n B, X] -> [B, n, X]."""
    return tf.transpose(slots(rows, images), [1, 0, 2])


def flat(x, axes):
    """The first `axes` axes as one."""
    return tf.reshape(x, tf.concat([[-1], tf.shape(x)[axes:]], 0))


def padded(x, multiple):
    """Zeros behind x, to a multiple of so many elements or rows."""
    behind = -tf.shape(x)[0] % multiple
    return tf.pad(x, [[0, behind], *[[0, 0]] * (len(x.shape) - 1)])
