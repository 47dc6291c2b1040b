"""The decoder: an LSTM that attends to the image at every word (Xu et al. 2015).

`Decoder.step` is the definition of the model: one word goes in, the logits of the next word come
out. Teacher forcing (`model/definition/forcing.py`) and search (`model/fast/step.py`) compute the
same, but do once what does not depend on the state. Tests compare them.
"""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import keras
import tensorflow as tf

from model.definition.attention import ATTENTIONS
from model.definition.dense import Dense, affine
from model.definition.image_input import IMAGE_INPUTS
from model.definition.lstm import State, forget_bias_one, lstm_cell
from model.definition.precision import matmul


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Sizes and parts of the decoder.

    Attributes:
        vocabulary_size: V.
        feature_depth: D of the encoder.
        rnn_units: U of the LSTM.
        embedding_dim: E, the size of the word vectors and of the deep output.
        attention_units: A.
        feature_projection: D' of a' = relu(features W_p + b_p); 0 attends to the features as they
            are (a' = features, D' = D).
        attention: where a word looks, a key of `ATTENTIONS`.
        image_as: how the image enters beside the attention, a key of `IMAGE_INPUTS`.
        gate: whether the state gates the context: z = sigmoid(W_beta h + b_beta) * context. Without
            a gate z is the context. (The paper's beta is a scalar, section 4.2.1; ours is a
            vector.) Without an attention there is no context, and so no gate.
        deep_output: whether the logits are made from tanh(W_h' h + b + W_z z + W_e E w), the
            paper's eq. 7 with a tanh; else from h alone.
        precision: "float32" or "bfloat16", of the matrix products.
    """

    vocabulary_size: int
    feature_depth: int
    rnn_units: int = 512
    embedding_dim: int = 512
    attention_units: int = 512
    feature_projection: int = 512
    attention: str = "soft"
    image_as: str = "init_state"
    gate: bool = True
    deep_output: bool = True
    precision: str = "float32"

    @property
    def attends(self) -> bool:
        """Whether words look at the image; else alpha is even and says nothing."""
        return self.attention != "none"


def first_attending(configs: Iterable[DecoderConfig]) -> int | None:
    """Return which of the decoders that caption together shows where words look.

    Args:
        configs: of the members of an ensemble, or of one decoder.

    Returns:
        The place of the first that has an attention, from 0; None where none has one.
    """
    return next((place for place, config in enumerate(configs) if config.attends), None)


class Memory(NamedTuple):
    """What the decoder keeps of an image: the same for all words and captions."""

    values: tf.Tensor  # a', [B, L, D'] float32
    keys: tf.Tensor  # [B, L, A] float32; [B, L, 1] for an attention that does not move


class Decoder(keras.layers.Layer):
    """LSTM that attends to the image, with a gate on the context and a deep output.

    Every tensor has the images first and an image's captions second, so that N captions share
    their image's memory by broadcasting.

    Attributes:
        config: sizes and parts.
        embedding: the word vectors, [V, E].
        projection: W_p and b_p, [D, D'] and [D']; only with a feature projection.
        image_input: how the image enters the LSTM before the first word.
        attention: where to look.
        gate: W_beta and b_beta, [U, D'] and [D']; only with a gate.
        word_kernel, context_kernel, recurrent_kernel: of the LSTM, [E, 4U], [D', 4U], [U, 4U];
            the second only with a context.
        lstm_bias: [4U].
        output_h, output_context, output_word: W_h' with its bias, W_z, W_e; only with a deep
            output, and W_z only with a context.
        output_logits: W_o and b_o, [E, V] (or [U, V]) and [V].
    """

    def __init__(self, config: DecoderConfig):
        super().__init__(name="decoder")
        self.config = config
        depth = config.feature_projection or config.feature_depth
        units, words = config.rnn_units, config.embedding_dim
        self.embedding = self.add_weight(
            (config.vocabulary_size, words), "uniform", name="embedding"
        )
        if config.feature_projection:
            self.projection = self._dense("projection", config.feature_depth, depth)
        self.image_input = IMAGE_INPUTS[config.image_as](self._dense, depth, units, words)
        self.attention = ATTENTIONS[config.attention](
            depth, units, config.attention_units, config.precision
        )
        context = self.attention.context_depth
        if self.gated:
            self.gate = self._dense("gate", units, context)
        glorot = "glorot_uniform"
        self.word_kernel = self.add_weight((words, 4 * units), glorot, name="lstm_word_kernel")
        if context:
            self.context_kernel = self.add_weight(
                (context, 4 * units), glorot, name="lstm_context_kernel"
            )
        self.recurrent_kernel = self.add_weight(
            (units, 4 * units), "orthogonal", name="lstm_recurrent_kernel"
        )
        self.lstm_bias = self.add_weight((4 * units,), forget_bias_one, name="lstm_bias")
        if config.deep_output:
            self.output_h = self._dense("output_h", units, words)
            if context:
                self.output_context = self._dense("output_context", context, words, bias=False)
            self.output_word = self._dense("output_word", words, words, bias=False)
        outputs = words if config.deep_output else units
        self.output_logits = self._dense("output_logits", outputs, config.vocabulary_size)
        self.built = True

    def _dense(self, name: str, inputs: int, outputs: int, bias: bool = True) -> Dense:
        kernel = self.add_weight((inputs, outputs), "glorot_uniform", name=f"{name}_kernel")
        return Dense(
            kernel, self.add_weight((outputs,), "zeros", name=f"{name}_bias") if bias else None
        )

    def _apply(self, dense: Dense, x: tf.Tensor) -> tf.Tensor:
        return affine(dense, x, self.config.precision)

    @property
    def gated(self) -> bool:
        """Whether the state gates the context."""
        return self.config.gate and bool(self.attention.context_depth)

    @property
    def dense_kernels(self) -> list[keras.Variable]:
        """The kernels that L2 applies to: no bias, no embedding, nothing of the LSTM."""
        lstm = {"lstm_word_kernel", "lstm_context_kernel", "lstm_recurrent_kernel"}
        return [w for w in self.weights if w.name.endswith("_kernel") and w.name not in lstm]

    def memory(self, features: tf.Tensor) -> Memory:
        """Return values and keys of features [B, L, D] of any float type, once per image."""
        values = tf.cast(features, tf.float32)
        if self.config.feature_projection:
            values = tf.nn.relu(self._apply(self.projection, features))
        return Memory(values, self.attention.keys(values))

    def initial_state(self, memory: Memory, captions: int | tf.Tensor) -> State:
        """Return the state before the first word.

        Args:
            memory: of B images.
            captions: N, how many captions of an image get this state.
        """
        mean = tf.reduce_mean(memory.values, 1, keepdims=True)  # [B, 1, D']
        h, c = self.image_input.state(mean, self._read_first, self.config.precision)
        return State(tf.repeat(h, captions, 1), tf.repeat(c, captions, 1))

    def _read_first(self, first_input: tf.Tensor) -> State:
        """Return the LSTM's state after its first input [B, 1, E]; before it the state is 0."""
        return lstm_cell(self.word_gates(first_input), 0.0)

    def embed(self, tokens: tf.Tensor) -> tf.Tensor:
        """Return the word vectors of ids: [...] int -> [..., E] float32."""
        return tf.gather(tf.convert_to_tensor(self.embedding), tokens)

    def word_gates(self, words: tf.Tensor) -> tf.Tensor:
        """Return the words' part of the LSTM gates, bias included: [..., E] -> [..., 4U]."""
        return matmul(words, self.word_kernel, self.config.precision) + self.lstm_bias

    def recur(
        self, word_gates: tf.Tensor, state: State, memory: Memory
    ) -> tuple[State, tf.Tensor, tf.Tensor]:
        """Do what can only be done word by word: attend, then update the LSTM's state.

        Args:
            word_gates: [B, N, 4U], from `word_gates`.
            state: after the word before.
            memory: of the images.

        Returns:
            The new state; the gated context z [B, N, D'] that it was made from, [B, N, 0] without
            an attention; alpha [B, N, L].
        """
        context, alpha = self.attention(state.h, memory.keys, memory.values)
        state, z = self.read(word_gates, state, context)
        return state, z, alpha

    def read(
        self, word_gates: tf.Tensor, state: State, context: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """Update the LSTM's state with a word and with what it saw.

        Args:
            word_gates: [B, N, 4U], from `word_gates`.
            state: after the word before.
            context: [B, N, D'], from the attention.

        Returns:
            The new state, and the gated context z that it was made from.
        """
        z, precision = context, self.config.precision
        gates = word_gates
        if self.gated:
            z = tf.sigmoid(self._apply(self.gate, state.h)) * z
        if self.attention.context_depth:
            gates += matmul(z, self.context_kernel, precision)
        gates += matmul(state.h, self.recurrent_kernel, precision)
        return lstm_cell(gates, state.c), z

    def deep_output(self, h: tf.Tensor, z: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
        """Return tanh(W_h' h + W_z z + W_e E w), or h where the config has no deep output.

        Args:
            h: [..., U].
            z: [..., D'].
            words: [..., E], from `embed`.

        Returns:
            [..., E] float32, or [..., U] without a deep output.
        """
        if not self.config.deep_output:
            return h
        inner = self._apply(self.output_h, h)
        if self.attention.context_depth:
            inner += self._apply(self.output_context, z)
        return tf.tanh(inner + self._apply(self.output_word, words))

    def logits(self, deep: tf.Tensor) -> tf.Tensor:
        """Return the logits of the next word from `deep_output`: [..., V]."""
        return self._apply(self.output_logits, deep)

    def step(
        self, tokens: tf.Tensor, state: State, memory: Memory
    ) -> tuple[tf.Tensor, State, tf.Tensor]:
        """Take one word of every caption and predict the next.

        Args:
            tokens: [B, N] int, the last words.
            state: after the words before them.
            memory: of the images.

        Returns:
            The logits of the next word [B, N, V], the new state, alpha [B, N, L].
        """
        words = self.embed(tokens)
        state, z, alpha = self.recur(self.word_gates(words), state, memory)
        return self.logits(self.deep_output(state.h, z, words)), state, alpha
