"""The decoder's loop over words, with a backward pass written by hand to be fast on CPUs.

TensorFlow's own gradient of this loop would add to the gradient of every weight at every word, and
would store the attention's tanh of every word, [n, L, B, A]. Here each weight's gradient is one
product after the loop, and the tanh is computed again.

**Forward.** At word t, from h_prev and c_prev of the word before, for each row:

    [r | q | b] = h_prev [W_rec | W_q | W_beta]         one product, called `product`
    e_l         = v . tanh(keys_l + q)
    alpha       = softmax over l of e
    context     = sum over l of alpha_l a'_l            a' are called `values`
    beta        = sigmoid(b + b_beta)
    z           = beta * context                        without a gate z = context
    G           = word gates + r + z W_z                [4U]
    i, f, g, o  = sigmoid, sigmoid, tanh, sigmoid of the four parts of G
    c           = f c_prev + i g
    h           = o tanh c

**Rows.** A row is the state of one caption. At word t only the first n_t captions of each image are
computed: up to the last that still has a word, rounded up to an even number. When captions are
sorted by length, the longest first, finished ones leave the batch. Rows are ordered by (t, n, b):
all B images of one caption place (a slot) lie together, and share their keys and values by
broadcasting. There are M = sum of n_t slots, so M B rows instead of T N B.

**Backward.** dx is the gradient of the loss by x. The words come in reverse order. From outside the
loop come dh, dz and dalpha of every word; from the word after come the dh and dc that it calls
dh_prev and dc_prev, which are added. The chain rule, from the last line of the forward pass up:

    do       = dh tanh c             dc      += dh o (1 - tanh^2 c)
    di       = dc g                  df       = dc c_prev
    dg       = dc i                  dc_prev  = dc f
    dG       = [di i (1 - i) | df f (1 - f) | dg (1 - g^2) | do o (1 - o)]
    dz      += dG W_z^T
    db       = dz context beta (1 - beta)
    dcontext = dz beta
    dalpha_l += dcontext . a'_l
    de       = alpha (dalpha - sum over l of alpha_l dalpha_l)
    dq       = v * sum over l of de_l (1 - tanh^2(keys_l + q))
    dh_prev  = [dG | dq | db] [W_rec | W_q | W_beta]^T  since r has the gradient of G

After the loop, with the rows of all words below each other, the gradients of

    [W_rec | W_q | W_beta]   are   h_prev^T [dG | dq | db]
    W_z                            z^T dG
    b_beta                         the sum of db over the rows
    word gates                     dG
    a'                             alpha^T dcontext, for each image
    keys_l                         v * the sum over an image's rows of de_l (1 - tanh^2)
    v                              the sum over rows and l of de_l tanh

**The tanh as a quotient.** With x_l = 1 / (1 + exp(2 keys_l) exp(2 q)),

    tanh(keys_l + q) = 1 - 2 x_l              1 - tanh^2 = 4 x_l (1 - x_l)

exp(2 keys) is computed once per image and exp(2 q) once per row, so a location costs one product
and one quotient. de sums to 0 over l, so the 1 of 1 - 2 x drops out of dv, as it drops out of the
softmax:

    e_l = -2 v . x_l + constant               dv = -2 * the sum over rows and l of de_l x_l

Exponents are clipped to -87..87, so that each exponential is finite and above 0: keys and q beyond
43.5 count as 43.5. That changes the result only where one is beyond 43.5 and the other nearly its
negative. A product that overflows gives x = 0, as it should.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from model.fast import fused
from model.fast.array_loop import for_each, write_all
from model.fast.rows import by_image, padded, slots

_SLOTS = 16  # M is padded to a multiple of this, so that XLA compiles few shapes


class Inputs(NamedTuple):
    """What the loop is differentiated by, all float32.

    Without a gate W_beta and b_beta have no columns.
    """

    gates: tf.Tensor  # [M B, 4U], the words' part
    keys: tf.Tensor  # [B, L, A]
    values: tf.Tensor  # a', [B, L, D']
    h0: tf.Tensor  # [B, U]
    c0: tf.Tensor  # [B, U]
    state_kernel: tf.Tensor  # [W_rec | W_q | W_beta], [U, 4U + A + D']
    context_kernel: tf.Tensor  # W_z, [D', 4U]
    score: tf.Tensor  # v, [A]
    gate_bias: tf.Tensor  # b_beta, [D']


def recurrence(
    inputs: Inputs, counts: tf.Tensor, dtype: tf.DType, gate: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Run the loop over all words; its result can be differentiated by `inputs`.

    Args:
        inputs: tensors.
        counts: n_t, [T'] int32.
        dtype: of the matrix products.
        gate: whether there is a gate on the context.

    Returns:
        h [M B, U], z [M B, D'] and alpha [M B, L] of all words, float32.
    """

    @tf.custom_gradient
    def run(*tensors: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable[..., Inputs]]:
        loop = _Loop(Inputs(*tensors), counts, dtype, gate)
        return loop.forward(), loop.backward

    return run(*inputs)


class _Saved(NamedTuple):
    """What the backward pass reads of each word: TensorArrays over t, of n_t B rows each."""

    h: tf.TensorArray  # h_prev
    product: tf.TensorArray
    alpha: tf.TensorArray
    context: tf.TensorArray  # [B, n_t, D']
    z: tf.TensorArray
    c: tf.TensorArray  # c_prev
    activations: tf.TensorArray
    next_h: tf.TensorArray


class _Loop:
    """The words of one batch, forwards and then backwards."""

    def __init__(self, inputs: Inputs, counts: tf.Tensor, dtype: tf.DType, gate: bool):
        self.inputs, self.dtype, self.gate = inputs, dtype, gate
        self.steps, self.captions = tf.shape(counts)[0], tf.reduce_max(counts)
        self.images = tf.shape(inputs.h0)[0]
        self.sizes = inputs.h0.shape[-1], inputs.score.shape[0]
        self.exp_keys = fused.exp_keys(inputs.keys)
        self.state_kernel = tf.cast(inputs.state_kernel, dtype)
        self.context_kernel = tf.cast(inputs.context_kernel, dtype)
        self.values = tf.cast(inputs.values, dtype)
        self.ends = tf.cumsum(counts) * self.images  # word t has the rows begins[t] to ends[t]
        self.begins = self.ends - counts * self.images

    def forward(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return h, z and alpha of all words."""
        units, depth, dtype = self.sizes[0], self.values.shape[-1], self.dtype
        elements = _Saved(
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
        _, _, _, arrays = for_each(self.steps, self._word, first, elements)
        self.saved = _Saved(*arrays)
        self.alpha = self.saved.alpha.concat()
        return self.saved.next_h.concat(), tf.cast(self.saved.z.concat(), tf.float32), self.alpha

    def _word(
        self, t: tf.Tensor, h: tf.Tensor, c: tf.Tensor, arrays: list[tf.TensorArray]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, list[tf.TensorArray]]:
        units = self.sizes[0]
        begin, end = self.begins[t], self.ends[t]
        h, c = h[: end - begin], c[: end - begin]  # finished captions leave
        product = tf.matmul(h, self.state_kernel)
        alpha, low_alpha = fused.attend(product, self.exp_keys, self.inputs.score, self.sizes)
        context = tf.matmul(low_alpha, self.values)  # [B, n, D']
        z = fused.gate_context(product, context, self.inputs.gate_bias, self.sizes, self.gate)
        z_gates = tf.matmul(z, self.context_kernel)
        next_h, low_h, next_c, activations = fused.lstm_cell(
            self.inputs.gates[begin:end], product, z_gates, c, units
        )
        word = _Saved(h, product, alpha, context, z, c, activations, next_h)
        return t + 1, low_h, next_c, write_all(arrays, t, word)

    def backward(self, *outer_gradients: tf.Tensor) -> Inputs:
        """Return the gradients of the inputs from those of h, z and alpha."""
        self.outer_gradients = tuple(map(tf.convert_to_tensor, outer_gradients))
        units, attention = self.sizes
        depth, score = self.values.shape[-1], self.inputs.score
        last = tf.zeros([0, units], self.dtype), tf.zeros([0, units]), tf.zeros_like(score)
        elements = (
            tf.TensorSpec([None, self.state_kernel.shape[1]], self.dtype),
            tf.TensorSpec([None, None]),
            tf.TensorSpec([None, depth], self.dtype),
        )
        _, d_h, d_c, d_score, arrays = for_each(self.steps, self._word_backward, last, elements)
        d_product, d_energy, d_context = (array.concat() for array in arrays)
        d_gates, d_b = d_product[:, : 4 * units], d_product[:, 4 * units + attention :]
        product, d_energy = (
            padded(x, _SLOTS * self.images) for x in (self.saved.product.concat(), d_energy)
        )
        alpha = by_image(tf.cast(self.alpha, self.dtype), self.images)
        gradients = Inputs(
            gates=d_gates,
            keys=fused.keys_backward(product, d_energy, self.exp_keys, score, self.sizes),
            values=tf.matmul(alpha, by_image(d_context, self.images), transpose_a=True),
            h0=tf.reduce_sum(slots(tf.cast(d_h, tf.float32), self.images), 0),
            c0=tf.reduce_sum(slots(d_c, self.images), 0),
            state_kernel=tf.matmul(self.saved.h.concat(), d_product, transpose_a=True),
            context_kernel=tf.matmul(self.saved.z.concat(), d_gates, transpose_a=True),
            score=d_score,
            gate_bias=tf.reduce_sum(tf.cast(d_b, tf.float32), 0),
        )
        return Inputs(*(tf.cast(x, tf.float32) for x in gradients))

    def _word_backward(
        self,
        k: tf.Tensor,
        d_h: tf.Tensor,
        d_c: tf.Tensor,
        d_score: tf.Tensor,
        arrays: list[tf.TensorArray],
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, list[tf.TensorArray]]:
        t = self.steps - 1 - k
        begin, end = self.begins[t], self.ends[t]
        outer_d_h, outer_d_z, outer_d_alpha = (x[begin:end] for x in self.outer_gradients)
        saved = self.saved
        product = saved.product.read(t)
        # Captions that end at this word had no gradient from the word after.
        joining = [[0, end - begin - tf.shape(d_h)[0]], [0, 0]]
        d_gates, d_c = fused.lstm_cell_backward(
            outer_d_h,
            tf.pad(d_h, joining),
            tf.pad(d_c, joining),
            saved.activations.read(t),
            saved.c.read(t),
        )
        d_context, d_context_rows, d_b = fused.gate_context_backward(
            tf.matmul(d_gates, self.context_kernel, transpose_b=True),
            outer_d_z,
            product,
            saved.context.read(t),
            self.inputs.gate_bias,
            self.sizes,
            self.gate,
        )
        d_product, d_energy, word_d_score = fused.attend_backward(
            tf.matmul(d_context, self.values, transpose_b=True),
            outer_d_alpha,
            saved.alpha.read(t),
            product,
            self.exp_keys,
            self.inputs.score,
            d_gates,
            d_b,
            self.sizes,
        )
        d_h = tf.matmul(d_product, self.state_kernel, transpose_b=True)
        arrays = write_all(arrays, t, (d_product, d_energy, d_context_rows))
        return k + 1, d_h, d_c, d_score + word_d_score, arrays
