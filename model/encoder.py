"""Encoders: image networks that turn images into grids of features.

What a network expects of its input is here and nowhere else; `decoding.py` makes the input.
"""

import dataclasses
import functools
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
        preprocess: float32 RGB [B, size, size, 3] in 0..255 -> the network's input.
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


def _unchanged(images: tf.Tensor) -> tf.Tensor:
    # The network's first layers prepare the pixels themselves.
    return images


def _application(
    build: Callable[..., keras.Model], size: int
) -> Callable[[str | None], keras.Model]:
    def network(weights: str | None) -> keras.Model:
        return _without_groups(
            build(include_top=False, weights=weights, input_shape=(size, size, 3))
        )

    return network


def _without_groups(network: keras.Model) -> keras.Model:
    """Let a network convolve channel by channel with TensorFlow's own operation for that.

    ConvNeXt does it with convolutions of many groups, which Keras compiles with XLA: slowly, and
    never in a graph that is frozen or exported.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1:
            layer.convolution_op = functools.partial(_depthwise, layer)
    return network


def _depthwise(layer: keras.layers.Conv2D, images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    # [h, w, 1, C] of a convolution with C groups is [h, w, C, 1] of a depthwise one.
    kernel = tf.transpose(tf.convert_to_tensor(kernel), [0, 1, 3, 2])
    return tf.nn.depthwise_conv2d(images, kernel, [1, *layer.strides, 1], layer.padding.upper())


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
    "mobilenet_v3_large": EncoderSpec(
        224, (7, 7, 960), _unchanged, _application(_A.MobileNetV3Large, 224)
    ),
    "efficientnet_v2_s": EncoderSpec(
        384, (12, 12, 1280), _unchanged, _application(_A.EfficientNetV2S, 384)
    ),
    "convnext_base": EncoderSpec(224, (7, 7, 1024), _unchanged, _application(_A.ConvNeXtBase, 224)),
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
