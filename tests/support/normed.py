"""A small encoder with batch norm and dropout, as pretrained networks have them."""

import dataclasses

import keras
import pytest

from model.encoder import ENCODERS

NAME = "small_cnn"  # whose place it takes


def use_normed_encoder(patch: pytest.MonkeyPatch) -> None:
    """Let `small_cnn` be a network with batch norm, whose statistics are no zeros and ones."""

    def network(weights: str | None) -> keras.Model:
        layers = keras.layers
        image = keras.Input((64, 64, 3))
        x = layers.Conv2D(12, 4, 4, name="stem")(image)
        x = layers.BatchNormalization(
            name="stem_norm",
            momentum=0.5,
            moving_mean_initializer=keras.initializers.RandomNormal(seed=1),
            moving_variance_initializer=keras.initializers.RandomUniform(0.5, 2, seed=2),
        )(x)
        x = layers.Dropout(0.5, name="drop")(layers.ReLU(name="relu")(x))
        return keras.Model(image, layers.Conv2D(128, 2, 2, name="head")(x), name=NAME)

    patch.setitem(ENCODERS, NAME, dataclasses.replace(ENCODERS[NAME], network=network))
