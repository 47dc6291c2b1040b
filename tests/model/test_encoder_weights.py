"""Files of weights that are cut, another's, or made to do harm are one line and do nothing."""

import os
import urllib.error
import warnings

import h5py
import keras
import numpy as np
import pytest
from keras.src.utils import file_utils

from model.encoder import Encoder
from model.encoder_weights import WeightsError


@pytest.fixture
def weights(tmp_path):
    """Weights of the small network, to be damaged."""
    path = tmp_path / "w.weights.h5"
    Encoder("small_cnn").network.save_weights(str(path))
    return path


def refusal(path, name="small_cnn") -> str:
    with warnings.catch_warnings(), pytest.raises(WeightsError) as caught:
        warnings.simplefilter("error")  # One line, and no warning before it.
        Encoder(name, str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def first_array(file: h5py.File) -> h5py.Dataset:
    found: list[h5py.Dataset] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found[0]


def test_another_networks_weights_are_one_line(weights):
    assert "not the weights of mobilenet_v2" in refusal(weights, "mobilenet_v2")


def test_a_file_without_some_layers_is_refused(weights):
    with h5py.File(weights, "a") as file:
        name = first_array(file).name
        del file[name]
    refusal(weights)


def test_values_that_are_no_numbers_are_refused(weights):
    with h5py.File(weights, "a") as file:
        first_array(file)[...] = np.nan
    assert "no finite numbers" in refusal(weights)


def test_a_cut_file_is_refused(weights):
    os.truncate(weights, weights.stat().st_size // 2)
    assert "truncated file" in refusal(weights)


def test_a_bomb_is_refused_before_it_is_unpacked(weights):
    with h5py.File(weights, "a") as file:
        file.create_dataset("vars/0", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")
    assert weights.stat().st_size < 10_000_000
    assert "its arrays are larger than" in refusal(weights)


def test_links_to_other_files_are_refused(weights, tmp_path):
    with h5py.File(weights, "a") as file:
        name = first_array(file).name
        del file[name]
        file[name] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/a")
    assert f"{name} is a link to somewhere else" in refusal(weights)
    with h5py.File(weights, "a") as file:
        del file[name]
        file.create_dataset(name, (4,), "u1", external=[("/etc/hostname", 0, 4)])
    assert f"{name} lies in another file" in refusal(weights)


def test_a_circle_of_groups_ends(weights):
    with h5py.File(weights, "a") as file:
        file["again"] = file["/"]
    Encoder("small_cnn", str(weights))


def test_a_model_with_code_is_not_run(tmp_path):
    ran = tmp_path / "ran"
    image = keras.Input((64, 64, 3))
    path = str(ran)
    code = keras.layers.Lambda(lambda x: (open(path, "w").close(), x)[1], output_shape=(64, 64, 3))
    model = keras.Model(image, code(image))
    ran.unlink(missing_ok=True)
    for name in ("model.keras", "model.h5"):
        model.save(str(tmp_path / name))
        ran.unlink(missing_ok=True)
        refusal(tmp_path / name)
        assert not ran.exists()
    assert "NAME.weights.h5" in refusal(tmp_path / "model.keras")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder in which Keras keeps downloads, and nothing answers where it looks for more."""

    def unreachable(*_):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(keras.src.backend.config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(file_utils, "urlretrieve", unreachable)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_a_damaged_file_in_keras_cache_is_named(cache):
    path = cache / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    with pytest.raises(WeightsError) as caught:
        Encoder("mobilenet_v2", "imagenet")
    assert str(caught.value).startswith(f"{path}: not the ImageNet weights of mobilenet_v2 (")
    assert "remove the file" in str(caught.value)


def test_a_file_that_keras_fetches_again_is_named(cache):
    path = cache / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.write_bytes(b"cut")  # Keras knows its checksum.
    with pytest.raises(WeightsError) as caught:
        Encoder("resnet50", "imagenet")
    assert f"could not be downloaded to {path} (URL fetch failure" in str(caught.value)
