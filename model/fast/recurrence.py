"""The loop over words with its backward pass by hand: what `fast_forcing.py` is fast by.

Word by word, for rows that hold the states of captions:

    product = h [W_rec | W_q | W_beta]                  one matrix product
    alpha   = softmax over l of v . tanh(keys_l + q)
    z       = sigmoid(b) * sum_l alpha_l a'_l
    i, f, g, o = word gates + r + z W_z                 r, q, b: the parts of the product
    c, h    = f c + i g, o tanh c

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

from typing import NamedTuple

import tensorflow as tf

from model.fast import fused
from model.fast.fused import by_image, padded, slots

_SLOTS = 16  # M is padded to a multiple of this: few shapes to compile


class Inputs(NamedTuple):
    """Of the loop, all float32; without a gate W_beta and b_beta have no columns."""

    gates: tf.Tensor  # [M B, 4U], of the words
    keys: tf.Tensor  # [B, L, A]
    values: tf.Tensor  # [B, L, D']
    h0: tf.Tensor  # [B, U]
    c0: tf.Tensor  # [B, U]
    state_kernel: tf.Tensor  # [W_rec | W_q | W_beta] [U, 4U + A + D']
    context_kernel: tf.Tensor  # W_z [D', 4U]
    score: tf.Tensor  # v [A]
    gate_bias: tf.Tensor  # b_beta [D']


def recurrence(
    inputs: Inputs, counts: tf.Tensor, dtype: tf.DType, gate: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """h [M B, U], z [M B, D'] and alpha [M B, L] of all words, with their gradient.

    Call arguments:
        counts: n_t [T'] int32. dtype: of the matrix products.
    """

    @tf.custom_gradient
    def run(*tensors):
        loop = _Loop(Inputs(*tensors), counts, dtype, gate)
        return loop.forward(), loop.backward

    return run(*inputs)


class _Saved(NamedTuple):
    """What the backward pass reads of each word, as TensorArrays over t of n_t B rows."""

    h: tf.TensorArray  # before the word
    product: tf.TensorArray
    alpha: tf.TensorArray
    context: tf.TensorArray  # [B, n_t, D']
    z: tf.TensorArray
    c: tf.TensorArray  # before the word
    activations: tf.TensorArray
    next_h: tf.TensorArray


class _Loop:
    """The words of one batch, forwards and backwards."""

    def __init__(self, inputs: Inputs, counts: tf.Tensor, dtype: tf.DType, gate: bool):
        self.inputs, self.dtype, self.gate = inputs, dtype, gate
        self.steps, self.captions = tf.shape(counts)[0], tf.reduce_max(counts)
        self.images = tf.shape(inputs.h0)[0]
        self.sizes = inputs.h0.shape[-1], inputs.score.shape[0]
        self.exp_keys = fused.exp_keys(inputs.keys)
        self.state_kernel = tf.cast(inputs.state_kernel, dtype)
        self.context_kernel = tf.cast(inputs.context_kernel, dtype)
        self.values = tf.cast(inputs.values, dtype)
        self.ends = tf.cumsum(counts) * self.images  # rows of word t: begins[t] to ends[t]
        self.begins = self.ends - counts * self.images

    def forward(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """h, z, alpha."""
        units, depth, dtype = self.sizes[0], self.values.shape[-1], self.dtype
        kept = _Saved(
            h=tf.TensorSpec([None, units], dtype),
            product=tf.TensorSpec([None, None], dtype),
            alpha=tf.TensorSpec([None, None]),
            context=tf.TensorSpec([None, None, depth], dtype),
            z=tf.TensorSpec([None, depth], dtype),
            c=tf.TensorSpec([None, units]),
            activations=tf.TensorSpec([None, 4 * units]),
            next_h=tf.TensorSpec([None, units]),
        )
        h0, c0 = tf.cast(self.inputs.h0, dtype), self.inputs.c0
        first = [tf.tile(x, [self.captions, 1]) for x in (h0, c0)]
        _, _, _, saved = _for_each(self.steps, self._word, first, kept)
        self.saved = _Saved(*saved)
        self.alpha = self.saved.alpha.concat()
        return self.saved.next_h.concat(), tf.cast(self.saved.z.concat(), tf.float32), self.alpha

    def _word(self, t, h, c, saved):
        units = self.sizes[0]
        begin, end = self.begins[t], self.ends[t]
        h, c = h[: end - begin], c[: end - begin]  # finished captions leave
        product = tf.matmul(h, self.state_kernel)
        alpha, low_alpha = fused.look(product, self.exp_keys, self.inputs.score, self.sizes)
        context = tf.matmul(low_alpha, self.values)  # [B, n, D']
        z = fused.gated(product, context, self.inputs.gate_bias, self.sizes, self.gate)
        inner = tf.matmul(z, self.context_kernel)
        next_h, low_h, next_c, activations = fused.cell(
            self.inputs.gates[begin:end], product, inner, c, units
        )
        word = _Saved(h, product, alpha, context, z, c, activations, next_h)
        return t + 1, low_h, next_c, _written(saved, t, word)

    def backward(self, *gradients: tf.Tensor) -> Inputs:
        """Gradients of h, z and alpha -> of the inputs."""
        self.given = tuple(map(tf.convert_to_tensor, gradients))
        units, attention = self.sizes
        depth, score = self.values.shape[-1], self.inputs.score
        last = tf.zeros([0, units], self.dtype), tf.zeros([0, units]), tf.zeros_like(score)
        kept = (
            tf.TensorSpec([None, self.state_kernel.shape[1]], self.dtype),
            tf.TensorSpec([None, None]),
            tf.TensorSpec([None, depth], self.dtype),
        )
        _, d_h, d_c, d_score, found = _for_each(self.steps, self._word_back, last, kept)
        d_product, d_energy, d_context = (array.concat() for array in found)
        d_gates, d_beta = d_product[:, : 4 * units], d_product[:, 4 * units + attention :]
        whole = [padded(x, _SLOTS * self.images) for x in (self.saved.product.concat(), d_energy)]
        alpha = by_image(tf.cast(self.alpha, self.dtype), self.images)
        found = Inputs(
            gates=d_gates,
            keys=fused.keys_back(*whole, self.exp_keys, score, self.sizes),
            values=tf.matmul(alpha, by_image(d_context, self.images), transpose_a=True),
            h0=tf.reduce_sum(slots(tf.cast(d_h, tf.float32), self.images), 0),
            c0=tf.reduce_sum(slots(d_c, self.images), 0),
            state_kernel=tf.matmul(self.saved.h.concat(), d_product, transpose_a=True),
            context_kernel=tf.matmul(self.saved.z.concat(), d_gates, transpose_a=True),
            score=d_score,
            gate_bias=tf.reduce_sum(tf.cast(d_beta, tf.float32), 0),
        )
        return Inputs(*(tf.cast(x, tf.float32) for x in found))

    def _word_back(self, k, d_h, d_c, d_score, found):
        t = self.steps - 1 - k
        begin, end = self.begins[t], self.ends[t]
        d_hs, d_zs, d_alphas = (gradient[begin:end] for gradient in self.given)
        saved = self.saved
        product = saved.product.read(t)
        joining = [[0, end - begin - tf.shape(d_h)[0]], [0, 0]]
        d_gates, d_c = fused.cell_back(
            d_hs,
            tf.pad(d_h, joining),
            tf.pad(d_c, joining),
            saved.activations.read(t),
            saved.c.read(t),
        )
        d_context, low_d_context, d_beta = fused.gated_back(
            tf.matmul(d_gates, self.context_kernel, transpose_b=True),
            d_zs,
            product,
            saved.context.read(t),
            self.inputs.gate_bias,
            self.sizes,
            self.gate,
        )
        d_product, d_energy, d_v = fused.look_back(
            tf.matmul(d_context, self.values, transpose_b=True),
            d_alphas,
            saved.alpha.read(t),
            product,
            self.exp_keys,
            self.inputs.score,
            d_gates,
            d_beta,
            self.sizes,
        )
        d_h = tf.matmul(d_product, self.state_kernel, transpose_b=True)
        found = _written(found, t, (d_product, d_energy, low_d_context))
        return k + 1, d_h, d_c, d_score + d_v, found


def _written(arrays, t, values):
    return [array.write(t, x) for array, x in zip(arrays, values, strict=True)]


def _for_each(steps, body, state, kept):
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
