"""Weights load from every kind of file that Keras writes of a network, and of no other network."""

import warnings
import zipfile

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest

from model import encoder_weights, saved_networks
from model.encoder import ENCODERS, Encoder
from model.encoder_weights import WeightsError

ENDINGS = (".weights.h5", ".keras", ".h5")
layers = keras.layers


@pytest.fixture(scope="module")
def base() -> keras.Model:
    """The small network, with layer names that another process would not give."""
    ENCODERS["small_cnn"].network(None)
    return ENCODERS["small_cnn"].network(None)


def flat(base: keras.Model, classes: int = 5) -> keras.Model:
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(base.output))
    x = layers.BatchNormalization()(layers.Dense(16)(x))
    return keras.Model(base.input, layers.Dense(classes)(x))


def flattened(base: keras.Model) -> keras.Model:
    """A top that is several times as large as the network."""
    return keras.Model(base.input, layers.Dense(700)(layers.Flatten()(base.output)))


def trained(base: keras.Model) -> keras.Model:
    model = flat(base)
    model.compile("adam", "mse", metrics=["mae"])
    model.train_on_batch(np.zeros((1, 64, 64, 3)), np.zeros((1, 5)))
    return model


def sequential(base: keras.Model) -> keras.Model:
    return keras.Sequential([base, layers.GlobalAveragePooling2D(), layers.Dense(3)])


def functional(base: keras.Model) -> keras.Model:
    image = keras.Input((64, 64, 3))
    x = base(layers.RandomFlip()(layers.Normalization()(image)))
    return keras.Model(image, layers.Conv2D(2, 3)(x))


def inner(base: keras.Model) -> keras.Model:
    return keras.Sequential([flat(base), layers.Dense(2)])


def partly_frozen(base: keras.Model) -> keras.Model:
    # Keras' legacy files have layers that are trained before those that are frozen.
    copy = keras.models.clone_model(base)
    copy.set_weights(base.get_weights())
    for layer in copy.layers[:3]:
        layer.trainable = False
    return sequential(copy)


def save(model: keras.Model, path) -> str:
    model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)
    return str(path)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "model",
    [lambda base: base, flat, flattened, trained, sequential, functional, inner, partly_frozen],
    ids=lambda model: model.__name__,
)
def test_the_network_is_found_in_a_users_model(base, model, ending, tmp_path):
    model = model(base)
    path = save(model, tmp_path / f"w{ending}")
    loaded = Encoder("small_cnn", path)
    expected = base.get_weights()
    for array, other in zip(loaded.network.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(array, other)


def test_a_model_that_is_an_attribute_is_found(base, tmp_path):
    class Wrapper(keras.Model):
        def __init__(self):
            super().__init__()
            self.features, self.top = base, layers.Dense(2)

        def call(self, images):
            return self.top(self.features(images))

    model = Wrapper()
    model(np.zeros((1, 64, 64, 3)))
    model.save_weights(tmp_path / "w.weights.h5")
    assert_same(base, Encoder("small_cnn", str(tmp_path / "w.weights.h5")))


def assert_same(base: keras.Model, encoder: Encoder) -> None:
    image = np.random.default_rng(0).uniform(-2, 2, (1, 64, 64, 3)).astype(np.float32)
    features = encoder.network(image, training=False)
    np.testing.assert_array_equal(features, base(image, training=False))


# Files of Keras 2, by hand.


def write_legacy(path, saved: list, parts: int = 0, root: str = "") -> str:
    """Write a file as Keras 2 does.

    Args:
        path: The file.
        saved: (name, {weight's name: array}) of each layer.
        parts: Number of attributes among which the layers' names are divided; 0: they are one.
        root: Where the layers lie; Keras 2 puts those of a whole model into `model_weights`.
    """
    with h5py.File(path, "w") as file:
        group = file.require_group(root) if root else file
        names = [name.encode() for name, _ in saved]
        if parts:
            for number, part in enumerate(np.array_split(names, parts)):
                group.attrs[f"layer_names{number}"] = part
        else:
            group.attrs["layer_names"] = names
        group.attrs["backend"] = b"tensorflow"
        for name, arrays in saved:
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [weight.encode() for weight in arrays]
            for weight, array in arrays.items():
                layer[weight] = array
    return str(path)


def legacy_layers(base: keras.Model) -> list:
    return [
        (layer.name, {f"{v.path}:0": v.numpy() for v in layer.weights}) for layer in base.layers
    ]


DENSE = ("predictions", {"predictions/kernel:0": np.ones((128, 9)), "predictions/bias:0": [1.0]})


@pytest.mark.parametrize("top", [[], [DENSE]])
@pytest.mark.parametrize(("parts", "root"), [(0, ""), (3, "model_weights")])
def test_files_of_keras_2(base, top, parts, root, tmp_path):
    path = write_legacy(tmp_path / "w.hdf5", legacy_layers(base) + top, parts, root)
    assert_same(base, Encoder("small_cnn", path))


def test_a_model_of_keras_2_in_a_model(base, tmp_path):
    arrays = {name: array for _, own in legacy_layers(base) for name, array in own.items()}
    path = write_legacy(tmp_path / "w.h5", [("base", arrays), DENSE])
    assert_same(base, Encoder("small_cnn", path))


def test_the_container_of_keras_2_13(base, tmp_path):
    path = tmp_path / "w.weights.h5"
    base.save_weights(path)
    with h5py.File(path, "a") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
    assert_same(base, Encoder("small_cnn", str(path)))


def test_the_content_says_the_format(base, tmp_path):
    base.save(tmp_path / "w.h5")
    (tmp_path / "w.h5").rename(tmp_path / "w.weights.h5")
    assert_same(base, Encoder("small_cnn", str(tmp_path / "w.weights.h5")))
    base.save(tmp_path / "w.keras")
    (tmp_path / "w.keras").rename(tmp_path / "v.h5")
    assert_same(base, Encoder("small_cnn", str(tmp_path / "v.h5")))


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_numbers_of_other_sizes(base, dtype, tmp_path):
    path = tmp_path / "w.weights.h5"
    base.save_weights(path)
    kind = getattr(ml_dtypes, dtype, dtype)
    with h5py.File(path, "a") as file:
        for array in arrays_of(file):
            name, values = array.name, array[...]
            del file[name]
            file[name] = values.astype(kind)
            file[name].attrs["dtype"] = dtype
    loaded = Encoder("small_cnn", str(path)).network.get_weights()
    for array, other in zip(loaded, base.get_weights(), strict=True):
        np.testing.assert_array_equal(array, other.astype(kind).astype(np.float32))


def arrays_of(file: h5py.File) -> list[h5py.Dataset]:
    arrays: list[h5py.Dataset] = []
    file.visititems(lambda _, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None)
    return arrays


# Files that do not fit.


def refusal(path) -> str:
    network = Encoder("small_cnn").network
    before = network.get_weights()
    with warnings.catch_warnings(), pytest.raises(WeightsError) as caught:
        warnings.simplefilter("error")  # One line, and no warning before it.
        encoder_weights.load_file(network, str(path), "small_cnn")
    for array, other in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, other)  # None was set.
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"--encoder_weights={path}: ")
    assert message.endswith("writes of small_cnn")
    return message


def convolutions(*depths: int, bias: bool = True) -> keras.Model:
    image = x = keras.Input((64, 64, 3))
    for depth in depths:
        x = layers.Conv2D(depth, 3, use_bias=bias)(x)
    return keras.Model(image, x)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: convolutions(32, 48), "conv2d_1/kernel: expected 3x3x32x64, found 3x3x32x48 in "),
        (lambda: convolutions(32, 64), "conv2d_2: expected 3x3x64x96, 96, found nothing"),
        (lambda: convolutions(32, bias=False), "conv2d: expected 3x3x3x32, 32, found 3x3x3x32;"),
        (
            lambda: sequential(convolutions(32, 48)),
            "conv2d_1/kernel: expected 3x3x32x64, found 3x3x32x48 in ",
        ),
    ],
)
def test_the_first_layer_that_does_not_fit_is_named(model, message, ending, tmp_path):
    assert message in refusal(save(model(), tmp_path / f"w{ending}"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_deeper_network_is_refused(base, ending, tmp_path):
    deeper = keras.Model(base.input, layers.Conv2D(7, 3, name="added")(base.output))
    message = refusal(save(deeper, tmp_path / f"w{ending}"))
    assert " 3x3x128x7 belongs neither to it nor to a classification top" in message


@pytest.mark.parametrize("ending", ENDINGS)
def test_two_networks_that_fit_are_refused(base, ending, tmp_path):
    image = keras.Input((64, 64, 3))
    other = keras.models.clone_model(base)
    other.name = "other"
    both = keras.Model(image, layers.Add()([base(image), other(image)]))
    assert "in it fit; save the model that is meant alone" in refusal(
        save(both, tmp_path / f"w{ending}")
    )


def test_a_missing_layer_of_keras_2_is_named(base, tmp_path):
    saved = legacy_layers(base)
    del saved[2]
    message = refusal(write_legacy(tmp_path / "w.h5", saved))
    assert "conv2d_1/kernel: expected 3x3x32x64, found 3x3x64x96 in " in message


def test_kernels_of_theano_are_refused(base, tmp_path):
    path = write_legacy(tmp_path / "w.h5", legacy_layers(base))
    with h5py.File(path, "a") as file:
        file.attrs["backend"] = b"theano"
    assert "Theano" in refusal(path)


def test_quantized_numbers_are_refused(base, tmp_path):
    path = tmp_path / "w.weights.h5"
    base.save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = np.ones((3, 3, 3, 32), np.int8)
    assert "conv2d/kernel: expected 3x3x3x32, found int8 in /layers/conv2d" in refusal(path)


@pytest.mark.parametrize("names", [3, [b"a"], [b"../a"], b"\xff"])
def test_attributes_of_another_kind(names, tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = names
    refusal(tmp_path / "w.h5")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "w.npz").write_bytes(b"PK\x03\x04")
    assert "expected a .weights.h5, .keras, .h5, .hdf5 file" in refusal(tmp_path / "w.npz")
    (tmp_path / "saved.keras").mkdir()
    assert "expected a .weights.h5" in refusal(tmp_path / "saved.keras")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["a/b"] = [1.0]
    assert "no layers lie in it as Keras saves them" in refusal(tmp_path / "w.h5")


# Zip files that are damaged or made to do harm.


def zipped(path, content: bytes, compression: int, name: str = "model.weights.h5"):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr(name, content)
    return path


def test_a_zip_of_something_else_is_refused(tmp_path):
    path = zipped(tmp_path / "w.keras", b"", zipfile.ZIP_STORED, "model.weights.npz")
    assert "(it is a zip file without model.weights.h5)" in refusal(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = zipped(tmp_path / "w.keras", bytes(1 << 24), zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    assert "its model.weights.h5 is larger than" in refusal(path)
    zipped(path, b"", zipfile.ZIP_BZIP2)
    assert "compressed in an unusual way" in refusal(path)


def test_a_zip_that_was_compressed_again_loads(base, tmp_path):
    base.save(tmp_path / "w.keras")
    content = zipfile.ZipFile(tmp_path / "w.keras").read("model.weights.h5")
    path = zipped(tmp_path / "again.keras", content, zipfile.ZIP_DEFLATED)
    assert_same(base, Encoder("small_cnn", str(path)))


@pytest.mark.parametrize("damage", ["cut", "turned"])
def test_a_damaged_zip_is_refused(base, damage, tmp_path):
    path = tmp_path / "w.keras"
    base.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    assert ("not a zip file" if damage == "cut" else "Bad CRC-32") in refusal(path)


def test_links_in_a_zip_are_refused(base, tmp_path):
    base.save_weights(tmp_path / "w.weights.h5")
    with h5py.File(tmp_path / "w.weights.h5", "a") as file:
        file["layers/more"] = h5py.ExternalLink("/etc/hostname", "/")
    content = (tmp_path / "w.weights.h5").read_bytes()
    path = zipped(tmp_path / "w.keras", content, zipfile.ZIP_STORED)
    assert "/layers/more is a link to somewhere else" in refusal(path)


def test_a_small_array_in_a_huge_chunk_is_refused(base, tmp_path):
    path = tmp_path / "w.weights.h5"
    base.save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d/vars/1"]
        file.create_dataset(
            *("layers/conv2d/vars/1", (32,), "f4"),
            maxshape=(None,),
            chunks=(1 << 28,),
            compression="gzip",
        )
    assert "its arrays are larger than" in refusal(path)


def test_ranks_take_the_place_of_numbers():
    names = ["conv2d_99", "conv2d_100", "a_1_b", "conv2d", "bn_7", "bn_07"]
    ranked = saved_networks._ranked(names)
    assert ranked[:4] == ["conv2d 1", "conv2d 2", "a_1_b 0", "conv2d 0"]
    assert len(set(ranked)) == len(names)


# The networks of keras.applications.


@pytest.mark.parametrize("ending", ENDINGS)
def test_layers_in_a_layer_keep_their_order(ending, tmp_path):
    def network() -> keras.Model:
        image = keras.Input((8, 8, 4))
        # In a file, by name: the convolution comes first, and has arrays of the same shapes.
        inner = keras.Sequential(
            [layers.LayerNormalization(), layers.Conv2D(4, 1, use_bias=False), layers.Dense(4)]
        )
        return keras.Model(image, inner(layers.Conv2D(4, 3, padding="same")(image)))

    saved, loaded = network(), network()
    rng = np.random.default_rng(0)
    saved.set_weights([rng.uniform(-1, 1, array.shape) for array in saved.get_weights()])
    encoder_weights.load_file(loaded, save(saved, tmp_path / f"w{ending}"), "it")
    for array, other in zip(loaded.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(array, other)


A = keras.applications


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "build", "features"),
    [
        ("mobilenet_v2", A.MobileNetV2, lambda model: model.layers[-3].output),
        ("inception_v3", A.InceptionV3, lambda model: model.layers[-3].output),
        ("resnet50", A.ResNet50, lambda model: model.layers[-3].output),
        ("nasnet_mobile", A.NASNetMobile, lambda model: model.layers[-3].output),
        # Its top has two convolutions.
        ("mobilenet_v3_large", A.MobileNetV3Large, lambda model: model.layers[-8].output),
        ("efficientnet_v2_s", A.EfficientNetV2S, lambda model: model.layers[-4].output),
        # Its top pools before it normalises; without a top the grid is normalised.
        ("convnext_base", A.ConvNeXtBase, lambda model: model.layers[-2](model.layers[-3].input)),
    ],
)
def test_features_of_a_classifier(name, build, features, tmp_path):
    size = ENCODERS[name].size
    layers.Conv2D(1, 1), layers.BatchNormalization()  # Names get other numbers.
    model = build(weights=None, classes=10, input_shape=(size, size, 3))
    image = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype(np.float32)
    expected = keras.Model(model.input, features(model))(image, training=False)
    for ending in ENDINGS:
        encoder = Encoder(name, save(model, tmp_path / f"w{ending}"))
        grid = encoder.network(image, training=False)
        if name == "convnext_base":  # Keras convolves its channels by XLA.
            np.testing.assert_allclose(grid, expected, atol=1e-4)
        else:
            np.testing.assert_array_equal(grid, expected)
    if name == "resnet50":
        with pytest.raises(WeightsError, match=r"conv4_block7_1_conv.*: expected .*, found "):
            Encoder("resnet101", str(tmp_path / "w.h5"))
