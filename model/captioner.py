"""The captioner: an encoder and a decoder, and how they are trained together.

`model/caption_generator.py` searches captions with one.
"""

import keras
import tensorflow as tf

from model.definition import forcing
from model.definition.decoder import Decoder, DecoderConfig
from model.definition.forcing import ForcingResult
from model.encoder import Encoder
from model.fast import forcing as fast_forcing


class Captioner(keras.Model):
    """Encoder and decoder.

    Attributes:
        encoder: turns images into features.
        decoder: turns features and words into the logits of the next word.
        plain: True: teacher forcing runs the definition, which a GPU compiles as one graph. False:
            it runs the fast formulation for CPUs. Both compute the same; the device decides.
    """

    def __init__(self, encoder: Encoder, config: DecoderConfig):
        super().__init__(name="captioner")
        self.encoder = encoder
        self.decoder = Decoder(config)
        self.plain = bool(tf.config.list_physical_devices("GPU"))
        self.built = True

    def features(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the features [B, L, D] of what a batch holds: images are encoded, features stay.

        Args:
            inputs: images [B, size, size, 3] float32 in 0..255, or features [B, L, D].
        """
        return self.encoder(inputs) if inputs.shape.rank == 4 else inputs

    def teacher_force(
        self,
        features: tf.Tensor,
        ids: tf.Tensor,
        dropout: float = 0.0,
        seed: tf.Tensor | tuple[int, int] = (0, 0),
        label_smoothing: float = 0.0,
        fed: tf.Tensor | None = None,
    ) -> ForcingResult:
        """Return the loss of every word given the words before it.

        Args:
            features: [B, L, D] of any float type.
            ids: [B, N, T + 1] int, `<start> ... <end>` then padding of 0.
            dropout: rate of the dropout on features, words and both sides of the deep output.
            seed: [2] int, decides the dropout masks.
            label_smoothing: share of the target that is spread evenly over all words.
            fed: [B, N, T] int, the words fed in, if these are not the captions' own.
        """
        formulation = forcing if self.plain else fast_forcing
        return formulation.teacher_force(
            self.decoder, features, ids, dropout, seed, label_smoothing, fed
        )

    def likeliest_words(self, features: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """Return the word that the decoder finds likeliest after each word of the captions.

        Args:
            features: [B, L, D] of any float type.
            ids: [B, N, T + 1] int, as for `teacher_force`.

        Returns:
            [B, N, T] int32; undefined on padding.
        """
        formulation = forcing if self.plain else fast_forcing
        return formulation.likeliest_words(self.decoder, features, ids)
