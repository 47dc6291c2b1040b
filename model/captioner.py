"""The captioner: encoder and decoder, taught (`forced`) and asked (`greedy`)."""

import keras
import tensorflow as tf

from model import forcing, recurrence, search
from model.decoder import Decoder, DecoderConfig
from model.encoder import Encoder
from model.forcing import Forced


class Captioner(keras.Model):
    """Encoder and decoder.

    Attributes:
        plain: whether teacher forcing is the plain formulation, which a GPU compiles whole, or the
            hand-written recurrence for CPUs. The two agree; the device decides.
    """

    def __init__(self, encoder: Encoder, config: DecoderConfig):
        super().__init__(name="captioner")
        self.encoder = encoder
        self.decoder = Decoder(config)
        self.plain = bool(tf.config.list_physical_devices("GPU"))
        self.built = True

    def forced(self, *args, **options) -> Forced:
        """`forcing.forced` of this decoder: features [B, L, D], ids [B, N, T + 1] -> losses."""
        formulation = forcing if self.plain else recurrence
        return formulation.forced(self.decoder, *args, **options)

    @tf.function(autograph=False, reduce_retracing=True)
    def greedy(
        self, features: tf.Tensor, start: int, end: int, banned: tuple[int, ...]
    ) -> search.Captions:
        """Compiled `search.greedy`: features [B, L, D] of any float type -> captions."""
        decoder = self.decoder
        memory = decoder.memory(features)
        return search.greedy(
            lambda tokens, state: decoder.step(tokens, state, memory),
            decoder.initial_state(memory, 1),
            tf.shape(features)[0],
            start=start,
            end=end,
            banned=banned,
        )
