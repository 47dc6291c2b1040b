"""How the image enters the LSTM before the first word: what `--image_as` chooses from.

The image's vector is the mean of its features. Each class gives the state before the first word;
an attention, if there is one, looks at the features besides.

- `InitialState`: the vector becomes the LSTM's state (Xu et al. 2015, section 3.1.2).
- `FirstInput`: the vector is what the LSTM reads before <start> (Vinyals et al. 2015, "Show and
  Tell", eq. 10).
- `ContextOnly`: the image enters through the attention alone.
"""

from collections.abc import Callable

import tensorflow as tf

from model.definition.dense import Dense, affine
from model.definition.lstm import State

# Makes the weights of a product: (name, inputs, outputs, bias).
DenseFactory = Callable[..., Dense]
# The LSTM's state after its first input [B, 1, E].
ReadFirst = Callable[[tf.Tensor], State]


class InitialState:
    """h0 = tanh(W_h x + b_h) and c0 = tanh(W_c x + b_c) of the image's vector x.

    Attributes:
        h, c: W_h, b_h and W_c, b_c, [D', U] and [U].
    """

    def __init__(self, dense: DenseFactory, depth: int, units: int, words: int):
        self.h = dense("initial_h", depth, units)
        self.c = dense("initial_c", depth, units)

    def state(self, vector: tf.Tensor, read_first: ReadFirst, precision: str) -> State:
        """Return the state before the first word, [B, 1, U].

        Args:
            vector: [B, 1, D'] float32, of B images.
            read_first: gives the LSTM's state after a first input; not used here.
            precision: of the products.
        """
        return State(*(tf.tanh(affine(dense, vector, precision)) for dense in (self.h, self.c)))


class FirstInput:
    """W_i x of the image's vector x takes the place of a word's embedding before <start>.

    The LSTM begins with a state of 0, and no context comes with this input.

    Attributes:
        image: W_i, [D', E].
    """

    def __init__(self, dense: DenseFactory, depth: int, units: int, words: int):
        self.image = dense("image", depth, words, bias=False)

    def state(self, vector: tf.Tensor, read_first: ReadFirst, precision: str) -> State:
        """Return the state before the first word, as `InitialState.state` does."""
        return read_first(affine(self.image, vector, precision))


class ContextOnly:
    """The state begins at 0."""

    def __init__(self, dense: DenseFactory, depth: int, units: int, words: int):
        self.units = units

    def state(self, vector: tf.Tensor, read_first: ReadFirst, precision: str) -> State:
        """Return the state before the first word, as `InitialState.state` does."""
        zeros = tf.zeros([tf.shape(vector)[0], 1, self.units])
        return State(zeros, zeros)


IMAGE_INPUTS: dict[str, type[InitialState | FirstInput | ContextOnly]] = {
    "init_state": InitialState,
    "first_input": FirstInput,
    "context": ContextOnly,
}
