"""Encoders: image networks that turn images into grids of features.

What a network expects of its input is here and nowhere else; `decoding.py` makes the input.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.utils.naming import reset_uids  # Private API: keras 3.15.1.

from model import encoder_weights
from model.encoder_weights import WeightsError

# Raise it by hand whenever `pixels.standard.read`, `decoding.decode` or a `preprocess` gives other
# pixels than before.
PREPROCESSING_VERSION = 2


@dataclasses.dataclass(frozen=True)
class EncoderSpec:
    """How an encoder is built.

    Attributes:
        size: side of the square input, pixels.
        grid: (height, width, depth) of the features.
        preprocess: float32 RGB [B, size, size, 3] in 0..255 -> the network's own input.
        network: (weights: "imagenet" or None) -> keras.Model without its classification top.
        pretrained: whether "imagenet" weights exist.
    """

    size: int
    grid: tuple[int, int, int]
    preprocess: Callable[[tf.Tensor], tf.Tensor]
    network: Callable[[str | None], keras.Model]
    pretrained: bool = True


def _zero_centred(images: tf.Tensor) -> tf.Tensor:
    # The "tf" mode of keras.applications, with which NASNet, Inception and MobileNet were trained.
    return images / 127.5 - 1.0


def _application(
    build: Callable[..., keras.Model], size: int
) -> Callable[[str | None], keras.Model]:
    def network(weights: str | None) -> keras.Model:
        return build(include_top=False, weights=weights, input_shape=(size, size, 3))

    return network


def _small_cnn(weights: str | None) -> keras.Model:
    """Build a network that a CPU can train along with the decoder: 64x64 -> 8x8x128.

    Two channels hold each location's coordinates (Liu et al. 2018, CoordConv). Attention alone
    does not know the order of the locations, so without them no caption could say "left of".
    """
    layers = keras.layers
    image = keras.Input((64, 64, 3))
    x = image
    for depth, stride in ((32, 2), (64, 2), (96, 2), (128, 1)):
        if stride == 1:
            x = _Coordinates()(x)
        x = layers.Conv2D(
            depth, 3, stride, padding="same", activation="relu", kernel_initializer="he_normal"
        )(x)
    return keras.Model(image, x, name="small_cnn")


def _background_free(images: tf.Tensor) -> tf.Tensor:
    # Most of a drawn scene is background. When it becomes 0, the features are about the things.
    return (images - tf.reduce_mean(images, [1, 2], keepdims=True)) / 64.0


class _Coordinates(keras.layers.Layer):
    """Appends x and y in -1..1 to the channels: [B, H, W, C] -> [B, H, W, C + 2]."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        height, width = images.shape[1:3]
        y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        grid = tf.constant(np.stack([x, y], -1)[None], images.dtype)
        return tf.concat([images, tf.tile(grid, [tf.shape(images)[0], 1, 1, 1])], -1)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*input_shape[:-1], input_shape[-1] + 2)


_A = keras.applications
ENCODERS = {
    "nasnet_large": EncoderSpec(
        331, (11, 11, 4032), _zero_centred, _application(_A.NASNetLarge, 331)
    ),
    "nasnet_mobile": EncoderSpec(
        224, (7, 7, 1056), _zero_centred, _application(_A.NASNetMobile, 224)
    ),
    "inception_v3": EncoderSpec(
        299, (8, 8, 2048), _zero_centred, _application(_A.InceptionV3, 299)
    ),
    "resnet50": EncoderSpec(
        224, (7, 7, 2048), _A.resnet.preprocess_input, _application(_A.ResNet50, 224)
    ),
    "resnet101": EncoderSpec(
        224, (7, 7, 2048), _A.resnet.preprocess_input, _application(_A.ResNet101, 224)
    ),
    "mobilenet_v2": EncoderSpec(
        224, (7, 7, 1280), _zero_centred, _application(_A.MobileNetV2, 224)
    ),
    "small_cnn": EncoderSpec(64, (8, 8, 128), _background_free, _small_cnn, pretrained=False),
}


class Encoder(keras.layers.Layer):
    """An image network without its top; its grid is flattened to L locations.

    The network always runs in inference mode, so batch statistics are never updated. That is usual
    when a pretrained encoder is fine-tuned on small batches.

    Attributes:
        spec: how it was built.
        network: the Keras model.
    """

    def __init__(self, name: str, weights: str = "random", trainable: bool = False):
        """Build the network and load its weights.

        Args:
            name: a key of `ENCODERS`.
            weights: "imagenet", "random", or a file for `encoder_weights.load_file`.
            trainable: whether training updates the weights.

        Raises:
            WeightsError: the weights cannot be downloaded or read, or are another network's.
        """
        super().__init__(name=name, trainable=trainable)
        self.spec = ENCODERS[name]
        self.network = _network(name, self.spec, weights)
        self.network.trainable = trainable
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Return the features [B, L, D] of images.

        Call arguments:
            images: float32 RGB [B, size, size, 3] in 0..255.
        """
        grid = self.network(self.spec.preprocess(images), training=False)
        height, width, depth = self.spec.grid
        return tf.reshape(grid, [-1, height * width, depth])

    def fingerprint(self) -> str:
        """Return the sha256 of the network's weights, in order."""
        digest = hashlib.sha256()
        for array in self.network.get_weights():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _network(name: str, spec: EncoderSpec, weights: str) -> keras.Model:
    # Keras numbers unnamed layers through the whole process. Variables are saved by their paths,
    # which must not depend on what was built before.
    reset_uids()
    if weights == "imagenet":
        if not spec.pretrained:
            raise WeightsError(f"{name} has no ImageNet weights; use --encoder_weights=random")
        return encoder_weights.download(spec.network, name)
    network = spec.network(None)
    if weights == "random":
        return network
    encoder_weights.load_file(network, weights, name)
    return network
