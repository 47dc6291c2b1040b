"""The captioner: encoder and decoder, and how they are taught. generator.py makes them speak."""

import keras
import tensorflow as tf

from model.definition import forcing
from model.definition.decoder import Decoder, DecoderConfig
from model.definition.forcing import Forced
from model.encoder import Encoder
from model.fast import forcing as fast_forcing


class Captioner(keras.Model):
    """Encoder and decoder.

    Attributes:
        plain: whether teacher forcing is the plain formulation, which a GPU compiles whole, or the
            fast one for CPUs. The two agree; the device decides.
    """

    def __init__(self, encoder: Encoder, config: DecoderConfig):
        super().__init__(name="captioner")
        self.encoder = encoder
        self.decoder = Decoder(config)
        self.plain = bool(tf.config.list_physical_devices("GPU"))
        self.built = True

    def forced(self, *args, **options) -> Forced:
        """`forcing.forced` of this decoder: features [B, L, D], ids [B, N, T + 1] -> losses."""
        formulation = forcing if self.plain else fast_forcing
        return formulation.forced(self.decoder, *args, **options)
