"""Every encoder gives the grid that it says."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.encoder import ENCODERS, Encoder, _without_groups
from model.encoder_weights import WeightsError


def test_small_cnn_gives_its_grid():
    encoder = Encoder("small_cnn")
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)), tf.float32)
    features = encoder(images)
    assert features.shape == (2, 64, 128)
    height, width, depth = encoder.spec.grid
    assert (height * width, depth) == (64, 128)
    # Locations are row by row: a change in the picture's corner changes the first and not the last.
    # Its pixels change places, so that the picture's mean, which the encoder takes away, stays.
    changed = images.numpy()
    changed[:, :4, :4] = changed[:, 3::-1, 3::-1]
    moved = np.abs(encoder(changed) - features).reshape(2, 8, 8, 128).max((0, 3))
    assert moved[0, 0] > 0.1
    assert moved[-1].max() < 1e-4
    assert moved[:, -1].max() < 1e-4


def test_small_cnn_knows_where_a_thing_is():
    encoder = Encoder("small_cnn")
    features = encoder(tf.fill([1, 64, 64, 3], 99.0))[0].numpy().reshape(8, 8, 128)
    assert np.abs(features[3, 2] - features[3, 5]).max() > 1e-3  # inside, away from the edges
    assert np.abs(features[2, 3] - features[5, 3]).max() > 1e-3


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "mobilenet_v2" else pytest.mark.slow)
        for name in ENCODERS
        if name != "small_cnn"
    ],
)
def test_every_network_gives_its_grid(name):
    encoder = Encoder(name)
    side = encoder.spec.size
    images = np.random.default_rng(0).uniform(0, 255, (1, side, side, 3)).astype(np.float32)
    features = encoder(images)
    height, width, depth = encoder.spec.grid
    assert not any("xla" in operation for operation in _operations(encoder.network))
    assert encoder.network.output_shape == (None, height, width, depth)
    assert features.shape == (1, height * width, depth)
    np.testing.assert_allclose(
        features.numpy().reshape(1, height, width, depth),
        encoder.network(encoder.spec.preprocess(images), training=False),
        rtol=1e-3,
        atol=1e-3,
    )


def test_preprocessing_is_the_networks_own():
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 3)).astype(np.float32)
    modules = {
        "nasnet_large": keras.applications.nasnet,
        "nasnet_mobile": keras.applications.nasnet,
        "inception_v3": keras.applications.inception_v3,
        "resnet50": keras.applications.resnet,
        "resnet101": keras.applications.resnet,
        "mobilenet_v2": keras.applications.mobilenet_v2,
        "mobilenet_v3_large": keras.applications.mobilenet_v3,
        "efficientnet_v2_s": keras.applications.efficientnet_v2,
        "convnext_base": keras.applications.convnext,
    }
    assert {*modules, "small_cnn"} == ENCODERS.keys()
    for name, module in modules.items():
        np.testing.assert_allclose(
            ENCODERS[name].preprocess(tf.constant(pixels)),
            module.preprocess_input(pixels.copy()),
            atol=1e-4,
            err_msg=name,
        )


MEAN, DEVIATION = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]) * 255


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenet_v3_large", lambda pixels: pixels / 127.5 - 1),
        ("efficientnet_v2_s", lambda pixels: pixels / 128 - 1),
        ("convnext_base", lambda pixels: (pixels - MEAN) / DEVIATION),
    ],
)
def test_the_pixels_that_the_first_convolution_sees(name, expected):
    """Keras' `preprocess_input` of these networks does nothing: their first layer does it."""
    spec = ENCODERS[name]
    network = spec.network(None)
    pixels = np.random.default_rng(0).uniform(0, 255, (1, spec.size, spec.size, 3))
    pixels = pixels.astype(np.float32)
    seen = keras.Model(network.input, network.layers[1].output)(spec.preprocess(pixels))
    np.testing.assert_allclose(seen, expected(pixels), atol=1e-5)


def test_channels_are_convolved_without_xla():
    """ConvNeXt's convolutions of many groups give what Keras' own give."""
    image = keras.Input((12, 10, 6))
    grouped = keras.layers.Conv2D(6, 5, strides=2, padding="same", groups=6)(image)
    network = keras.Model(image, grouped)
    pixels = np.random.default_rng(0).uniform(0, 1, (2, 12, 10, 6)).astype(np.float32)
    expected = network(pixels)
    operations = _operations(_without_groups(network))
    assert "DepthwiseConv2dNative" in operations
    assert not any("xla" in operation for operation in operations)
    np.testing.assert_allclose(network(pixels), expected, atol=1e-5)


def _operations(network: keras.Model) -> set[str]:
    spec = tf.TensorSpec([1, *network.input_shape[1:]], tf.float32)
    graph = tf.function(network, autograph=False).get_concrete_function(spec).graph.as_graph_def()
    return {
        name
        for node in graph.node
        for name in (node.op, node.attr["f"].func.name if "f" in node.attr else node.op)
    }


# Weights.


def test_weights_from_a_file(tmp_path):
    first = Encoder("small_cnn")
    path = str(tmp_path / "w.weights.h5")
    first.network.save_weights(path)
    second = Encoder("small_cnn", path)
    assert second.fingerprint() == first.fingerprint()
    assert Encoder("small_cnn").fingerprint() != first.fingerprint()


def test_trainable_is_what_was_asked():
    assert Encoder("small_cnn", trainable=True).trainable_variables
    assert not Encoder("small_cnn").trainable_variables


def test_batch_statistics_stay_as_they_are_in_training():
    encoder = Encoder("mobilenet_v2", trainable=True)
    assert encoder.non_trainable_variables
    before = encoder.non_trainable_variables[0].numpy()
    image = tf.random.stateless_uniform([1, 224, 224, 3], [1, 2], 0, 255)
    np.testing.assert_array_equal(encoder(image, training=True), encoder(image, training=False))
    np.testing.assert_array_equal(encoder.non_trainable_variables[0], before)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.h5: no such file \(or give `imagenet`"):
        Encoder("small_cnn", str(tmp_path / "none.h5"))


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", "other", "weightless"])
def test_weights_of_another_kind(tmp_path, content):
    path = tmp_path / "w.weights.h5"
    image = keras.Input((8, 8, 3))
    if content == "other":
        keras.Model(image, keras.layers.Conv2D(5, 3)(image)).save_weights(path)
    elif content == "weightless":
        keras.Model(image, keras.layers.Flatten()(image)).save_weights(path)
    else:
        path.write_bytes(content)
    with pytest.raises(
        WeightsError, match=r"w\.weights\.h5: not the weights of small_cnn"
    ) as caught:
        Encoder("small_cnn", str(path))
    assert "\n" not in str(caught.value)


def test_no_imagenet_weights_exist_for_the_small_network():
    with pytest.raises(WeightsError, match=r"small_cnn has no ImageNet weights.*=random"):
        Encoder("small_cnn", "imagenet")


def test_a_download_that_fails_says_how_to_give_a_path(tmp_path, monkeypatch):
    from keras.src.applications import mobilenet_v2

    monkeypatch.setattr(keras.src.backend.config, "_KERAS_DIR", str(tmp_path))  # nothing cached
    # Nobody listens on this port of this machine, and nothing outside it is asked.
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", "http://127.0.0.1:9/")
    with pytest.raises(WeightsError, match=r"mobilenet_v2 could not be downloaded") as caught:
        Encoder("mobilenet_v2", "imagenet")
    assert "--encoder_weights=PATH" in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)  # what was tried
    assert "\n" not in str(caught.value)
