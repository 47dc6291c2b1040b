"""The decoder as a cell of `keras.layers.RNN`, the way Keras' guides write one.

Attention over all features at each step, one row for each caption with the image's features
repeated for it, padding masked, no penalty on the attention. Nothing in it is tuned.
"""

from typing import Any

import keras


class Cell(keras.layers.Layer):
    """An LSTM cell that attends to `features`, which the model sets before the loop."""

    def __init__(self, units: int, depth: int):
        super().__init__()
        self.units, self.depth = units, depth
        self.state_size, self.output_size = [units, units], units
        self.lstm = keras.layers.LSTMCell(units)
        self.encoder_att, self.decoder_att = (keras.layers.Dense(units) for _ in range(2))
        self.full_att = keras.layers.Dense(1)
        self.gate = keras.layers.Dense(depth, activation="sigmoid")
        self.features: Any = None

    def build(self, shape: tuple[Any, ...]) -> None:
        """Make the weights, as Keras asks.

        Args:
            shape: of the words, [R, E].
        """
        self.encoder_att.build((None, None, self.depth))
        self.decoder_att.build((None, self.units))
        self.full_att.build((None, None, self.units))
        self.gate.build((None, self.units))
        self.lstm.build((None, shape[-1] + self.depth))

    def call(self, words: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """Take one word: words [R, E] and states h and c -> h and the new states."""
        h = states[0]
        keys = self.encoder_att(self.features) + self.decoder_att(h)[:, None]
        alpha = keras.ops.softmax(self.full_att(keras.ops.tanh(keys)), 1)
        context = self.gate(h) * keras.ops.sum(alpha * self.features, 1)
        return self.lstm(keras.ops.concatenate([words, context], -1), states)


class Decoder(keras.Model):
    """Features [R, L, D] and words [R, T] -> logits [R, T, V]."""

    def __init__(self, vocabulary: int, units: int, depth: int):
        super().__init__()
        self.embedding = keras.layers.Embedding(vocabulary, units)
        self.first = [keras.layers.Dense(units) for _ in range(2)]
        self.cell = Cell(units, depth)
        self.rnn = keras.layers.RNN(self.cell, return_sequences=True)
        self.dropout = keras.layers.Dropout(0.5)
        self.vocabulary = keras.layers.Dense(vocabulary)

    def call(self, inputs: tuple[Any, Any], training: bool | None = None) -> Any:
        """Run teacher forcing on (features, words); dropout if `training`."""
        features, words = inputs
        self.cell.features = features
        mean = keras.ops.mean(features, 1)
        state = [dense(mean) for dense in self.first]
        hidden = self.rnn(self.embedding(words), initial_state=state)
        return self.vocabulary(self.dropout(hidden, training=training))
