"""Teacher forcing, fast on CPUs: the same as `forcing.py`, with a backward pass written by hand.

What is computed when. Once per image: values a', keys W a' and the first state. Once per batch:
all words into the gates, in one product. Word by word, for rows that hold the states of captions:

    product = h [W_rec | W_q | W_beta]                  one matrix product
    alpha   = softmax over l of v . tanh(keys_l + q)
    z       = sigmoid(b) * sum_l alpha_l a'_l
    i, f, g, o = word gates + r + z W_z                 r, q, b: the parts of the product
    c, h    = f c + i g, o tanh c

Afterwards: the deep output and the vocabulary (`projection.py`), on real words only.

Rows. The states of an image's captions share its values and keys. At word t only the first n_t
captions of each image are computed, up to the last that still has a word, rounded up to even: with
the longest first, finished captions leave the batch. A row is (t, n, b), in this order; of T N B
rows M B are computed, M = sum of n_t.

Backward, t from the last word to the first, given the gradients dh, dz, dalpha that come from
outside. With the cell's own

    do = dh tanh c     dc += dh o (1 - tanh^2 c)     di = dc g     dg = dc i     df = dc c_prev

each times its activation's derivative, as dG [4U], and dc_prev = dc f:

    dz       += dG W_z^T
    dbeta     = dz context beta (1 - beta)
    dcontext  = dz beta
    dalpha_l += dcontext . a'_l
    de        = alpha (dalpha - sum_l alpha_l dalpha_l)             so that sum_l de_l = 0
    dh_prev   = [dG | dq | dbeta] [W_rec | W_q | W_beta]^T

The attention's tanh is recomputed, never stored. With x = 1 / (1 + exp(2 keys) exp(2 q)), a product
and a quotient of what is computed once per image and once per word,

    tanh = 1 - 2 x     1 - tanh^2 = 4 x (1 - x)     e = const - 2 v . x
    dq = 4 v sum_l de_l x_l (1 - x_l)               dv = -2 sum_l de_l x_l
    dkeys_l = 4 v sum over rows of de_l x_l (1 - x_l)

The exponents are clipped at 44: exact where |keys| and |q| are below 22, and beyond wherever tanh
is 1. No weight has a gradient in the loop: each is one product over all rows afterwards.
"""

import functools

import tensorflow as tf

from model.decoder import Decoder, Memory
from model.forcing import Forced, keep_mask, time_first
from model.projection import DTYPES, word_losses

_fused = functools.partial(tf.function, autograph=False, jit_compile=True, reduce_retracing=True)
_SLOTS = 16  # M is padded to a multiple of this, and real words to one of 64: few shapes to compile
_WORDS = 64


def forced(
    decoder: Decoder,
    features: tf.Tensor,
    ids: tf.Tensor,
    dropout: float = 0.0,
    seed: tf.Tensor = (0, 0),
    label_smoothing: float = 0.0,
) -> Forced:
    """As `forcing.forced`."""
    tokens, targets, real = time_first(ids)
    shape = tf.shape(real)
    rows, counts = _rows(real)

    def drop(x, place):
        if not dropout:
            return x
        mask = keep_mask(tf.concat([shape, tf.shape(x)[-1:]], 0), dropout, seed, place)
        return x * tf.gather(_flat(mask, 3), rows)

    if dropout:
        mask = keep_mask(tf.shape(features), dropout, seed, 0)
        features = tf.cast(features, tf.float32) * mask
    memory = decoder.memory(features)
    words = drop(decoder.embed(tf.gather(_flat(tokens, 3), rows)), 1)  # [M, B, E]
    h, z, alpha = _unroll(decoder, memory, decoder.word_gates(words), counts)
    deep = drop(decoder.deep_output(drop(h, 2), z, words), 3)

    rows = _flat(rows, 2)  # [M B]
    spoken = tf.where(tf.gather(_flat(real, 3), rows))[:, 0]  # [R]: computed, and real
    count = tf.shape(spoken)[0]
    places = tf.gather(rows, spoken)[:, None]
    kernel, bias = (tf.convert_to_tensor(w) for w in decoder.output_logits)
    losses = word_losses(
        tf.gather(_flat(deep, 2), _padded(spoken, _WORDS)),
        kernel,
        bias,
        _padded(tf.gather(_flat(targets, 3), places[:, 0]), _WORDS),
        label_smoothing,
        decoder.config.precision,
    )
    losses, nll = (
        tf.reshape(tf.scatter_nd(places, x[:count], [tf.reduce_prod(shape)]), shape) for x in losses
    )
    locations = tf.shape(alpha)[-1:]
    attention = tf.scatter_nd(
        rows[:, None], _flat(alpha, 2), tf.concat([[tf.reduce_prod(shape)], locations], 0)
    )
    attention = tf.reshape(attention, tf.concat([shape, locations], 0))
    return Forced(losses, tf.stop_gradient(nll), attention, real)


def _rows(real: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which rows are computed: real [T, B, N] -> indices of (t, b, n) [M, B], n_t [T']."""
    _, images, captions = tf.unstack(tf.shape(real))
    unfinished = tf.cast(tf.reduce_any(real, 1), tf.int32)  # [T, N]
    counts = tf.reduce_max(unfinished * tf.range(1, captions + 1), 1)
    counts = tf.minimum(counts + counts % 2, captions)  # fewer shapes to compile
    slots = tf.where(tf.sequence_mask(counts, captions))  # [M, 2]: (t, n)
    t, n = tf.unstack(tf.cast(slots, tf.int32)[..., None], axis=1)
    rows = (t * images + tf.range(images)) * captions + n
    return rows, tf.boolean_mask(counts, counts > 0)


def _unroll(
    decoder: Decoder, memory: Memory, gates: tf.Tensor, counts: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """gates [M, B, 4U] -> h [M, B, U], z [M, B, D'], alpha [M, B, L]."""
    attention, config = decoder.attention, decoder.config
    kernels = [decoder.recurrent_kernel, attention.query_kernel]
    gate_bias = tf.zeros([0])
    if config.gate:
        gate_kernel, gate_bias = decoder.gate
        kernels.append(gate_kernel)
    images = tf.shape(gates)[1]
    state = decoder.initial_state(memory, 1)
    rows = _recurrence(counts, DTYPES[config.precision], config.gate)(
        _flat(gates, 2),
        memory.keys,
        memory.values,
        state.h[:, 0],
        state.c[:, 0],
        tf.concat([tf.convert_to_tensor(kernel) for kernel in kernels], 1),
        tf.convert_to_tensor(decoder.context_kernel),
        tf.convert_to_tensor(attention.score_kernel)[:, 0],
        tf.convert_to_tensor(gate_bias),
    )
    return tuple(_slots(x, images) for x in rows)


def _recurrence(counts: tf.Tensor, dtype: tf.DType, gate: bool):
    """The loop over words and its gradient, for n_t = counts [T'], products in `dtype`.

    Returns: a function of gates [M B, 4U], keys [B, L, A], values [B, L, D'], h0 and c0 [B, U],
    [W_rec | W_q | W_beta] [U, 4U + A + D'], W_z [D', 4U], v [A] and b_beta [D'], that gives
    h [M B, U], z [M B, D'] and alpha [M B, L]. Without a gate W_beta and b_beta have no columns.
    """
    steps, captions = tf.shape(counts)[0], tf.reduce_max(counts)

    @tf.custom_gradient
    def run(gates, keys, values, h0, c0, state_kernel, context_kernel, score, gate_bias):
        images, units, depth = tf.shape(h0)[0], h0.shape[-1], values.shape[-1]
        sizes = units, score.shape[0]
        exp_keys = _exp_keys(keys)
        low = [tf.cast(x, dtype) for x in (state_kernel, context_kernel, values)]
        low_state_kernel, low_context_kernel, low_values = low
        ends = tf.cumsum(counts) * images
        begins = ends - counts * images

        def forward(t, h, c, saved):
            rows = ends[t] - begins[t]
            h, c = h[:rows], c[:rows]  # finished captions leave
            product = tf.matmul(h, low_state_kernel)
            alpha, low_alpha = _look(product, exp_keys, score, sizes)
            context = tf.matmul(low_alpha, low_values)  # [B, n, D']
            z = _gated(product, context, gate_bias, sizes, gate)
            inner = tf.matmul(z, low_context_kernel)
            next_h, low_h, next_c, activations = _cell(
                gates[begins[t] : ends[t]], product, inner, c, units
            )
            step = (h, product, alpha, context, z, c, activations, next_h)
            saved = [array.write(t, x) for array, x in zip(saved, step, strict=True)]
            return t + 1, low_h, next_c, saved

        low_h0 = tf.tile(tf.cast(h0, dtype), [captions, 1])
        kept = [tf.TensorSpec([None, width], dtype) for width in (units, None)]
        kept += [tf.TensorSpec([None, None]), tf.TensorSpec([None, None, depth], dtype)]
        kept += [tf.TensorSpec([None, depth], dtype), tf.TensorSpec([None, units])]
        kept += [tf.TensorSpec([None, 4 * units]), tf.TensorSpec([None, units])]
        _, _, _, saved = _loop(steps, forward, (low_h0, tf.tile(c0, [captions, 1])), kept)
        h_in, products, alphas, contexts, zs, cs, activations, hs = saved
        h, z, alpha = hs.concat(), tf.cast(zs.concat(), tf.float32), alphas.concat()

        def backward(d_hs, d_zs, d_alphas):
            d_hs, d_zs, d_alphas = map(tf.convert_to_tensor, (d_hs, d_zs, d_alphas))

            def step_back(k, d_h, d_c, d_score, saved):
                t = steps - 1 - k
                begin, end = begins[t], ends[t]
                joining = [[0, end - begin - tf.shape(d_h)[0]], [0, 0]]
                d_gates, d_c = _cell_back(
                    d_hs[begin:end],
                    tf.pad(d_h, joining),
                    tf.pad(d_c, joining),
                    activations.read(t),
                    cs.read(t),
                )
                d_context, low_d_context, d_beta = _gated_back(
                    tf.matmul(d_gates, low_context_kernel, transpose_b=True),
                    d_zs[begin:end],
                    products.read(t),
                    contexts.read(t),
                    gate_bias,
                    sizes,
                    gate,
                )
                d_product, d_energy, d_v = _look_back(
                    tf.matmul(d_context, low_values, transpose_b=True),
                    d_alphas[begin:end],
                    alphas.read(t),
                    products.read(t),
                    exp_keys,
                    score,
                    d_gates,
                    d_beta,
                    sizes,
                )
                written = (d_product, d_energy, low_d_context)
                saved = [array.write(t, x) for array, x in zip(saved, written, strict=True)]
                d_h = tf.matmul(d_product, low_state_kernel, transpose_b=True)
                return k + 1, d_h, d_c, d_score + d_v, saved

            last = tf.zeros([0, units], dtype), tf.zeros([0, units]), tf.zeros_like(score)
            kept = tf.TensorSpec([None, state_kernel.shape[1]], dtype), tf.TensorSpec([None, None])
            kept = (*kept, tf.TensorSpec([None, depth], dtype))
            _, d_h, d_c, d_score, saved = _loop(steps, step_back, last, kept)
            d_product, d_energy, d_context = (array.concat() for array in saved)
            d_gates = d_product[:, : 4 * units]
            whole = [_padded(x, _SLOTS * images) for x in (products.concat(), d_energy)]
            by_image = [_by_image(x, images) for x in (tf.cast(alpha, dtype), d_context)]
            weights = (
                tf.matmul(h_in.concat(), d_product, transpose_a=True),
                tf.matmul(zs.concat(), d_gates, transpose_a=True),
            )
            d_state_kernel, d_context_kernel = (tf.cast(x, tf.float32) for x in weights)
            return (
                tf.cast(d_gates, tf.float32),
                _keys_back(*whole, exp_keys, score, sizes),
                tf.cast(tf.matmul(*by_image, transpose_a=True), tf.float32),
                tf.reduce_sum(_slots(tf.cast(d_h, tf.float32), images), 0),
                tf.reduce_sum(_slots(d_c, images), 0),
                d_state_kernel,
                d_context_kernel,
                d_score,
                tf.reduce_sum(tf.cast(d_product[:, sum(sizes) + 3 * units :], tf.float32), 0),
            )

        return (h, z, alpha), backward

    return run


def _loop(steps, body, state, kept):
    """`body(i, *state, arrays)` for each i: the last i, state, and arrays of elements `kept`."""
    arrays = [
        tf.TensorArray(
            x.dtype, steps, element_shape=x.shape, infer_shape=False, clear_after_read=False
        )
        for x in kept
    ]
    shapes = [tf.TensorShape([None, *x.shape[1:]]) for x in state]  # rows come and go
    return tf.while_loop(
        lambda i, *_: i < steps,
        body,
        (0, *state, arrays),
        shape_invariants=(tf.TensorShape([]), *shapes, [tf.TensorShape(None)] * len(kept)),
        maximum_iterations=steps,
    )


# Between the matrix products: small functions, each compiled into few passes over its numbers.
# (XLA is left out of the products: its own for CPUs know no bfloat16 units.) Sizes are U and A.


def _query(product, sizes):
    """exp(2 q): [rows, A]."""
    units, attention = sizes
    return _exp2(tf.cast(product[:, 4 * units : 4 * units + attention], tf.float32))


def _exp2(x):
    return tf.exp(tf.clip_by_value(2.0 * x, -44.0, 44.0))


@_fused
def _exp_keys(keys):
    """keys [B, L, A] -> exp(2 keys) [L, B, A]."""
    return _exp2(tf.transpose(keys, [1, 0, 2]))


@_fused
def _look(product, exp_keys, score, sizes):
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
def _gated(product, context, bias, sizes, gate):
    """context [B, n, D'] -> z [n B, D']."""
    rows = _by_row(context)
    if not gate:
        return rows
    return tf.cast(_beta(product, bias, sizes) * tf.cast(rows, tf.float32), product.dtype)


@_fused
def _cell(gates, product, inner, c, units):
    """The LSTM -> h, h for the products, c, activations [n B, 4U] in the order i, f, g, o."""
    gates += tf.cast(product[:, : 4 * units], tf.float32) + tf.cast(inner, tf.float32)
    i, f, g, o = tf.split(gates, 4, 1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    c = f * c + i * g
    h = o * tf.tanh(c)
    return h, tf.cast(h, product.dtype), c, tf.concat([i, f, g, o], 1)


@_fused
def _cell_back(d_h, low_d_h, d_c, activations, c):
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
def _gated_back(low_d_z, d_z, product, context, bias, sizes, gate):
    """Of z -> of the context, by image [B, n, D'] and as rows, and of W_beta h, as rows."""
    d_z += tf.cast(low_d_z, tf.float32)
    if gate:
        beta = _beta(product, bias, sizes)
        d_beta = d_z * tf.cast(_by_row(context), tf.float32) * beta * (1.0 - beta)
        d_z *= beta
    else:
        d_beta = d_z[:, :0]
    rows = tf.cast(d_z, product.dtype)
    return _by_image(rows, tf.shape(context)[0]), rows, tf.cast(d_beta, product.dtype)


@_fused
def _look_back(low_d_alpha, d_alpha, alpha, product, exp_keys, score, d_gates, d_beta, sizes):
    """Of alpha -> [dG | dq | dbeta] [n B, 4U + A + D'], de [n B, L], dv [A]."""
    locations, images, attention = tf.unstack(tf.shape(exp_keys))
    d_alpha += tf.cast(_by_row(low_d_alpha), tf.float32)
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
def _keys_back(product, d_energy, exp_keys, score, sizes):
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


def _slots(rows, images):
    """[n B, X] -> [n, B, X]."""
    return tf.reshape(rows, [-1, images, rows.shape[1] or tf.shape(rows)[1]])


def _by_row(x):
    """[B, n, X] -> [n B, X]."""
    return tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, tf.shape(x)[2]])


def _by_image(rows, images):
    """[n B, X] -> [B, n, X]."""
    return tf.transpose(_slots(rows, images), [1, 0, 2])


def _flat(x, axes):
    """The first `axes` axes as one."""
    return tf.reshape(x, tf.concat([[-1], tf.shape(x)[axes:]], 0))


def _padded(x, multiple):
    """Zeros behind x, to a multiple of so many elements or rows."""
    behind = -tf.shape(x)[0] % multiple
    return tf.pad(x, [[0, behind], *[[0, 0]] * (len(x.shape) - 1)])
