"""Runs with the encoders of keras.applications export as SavedModel and LiteRT and say the same."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras.src.applications.convnext import ConvNeXt  # Private API: keras 3.15.1.

from artifacts.restore import Restored
from captioning.search_options import BeamSearch
from model.encoder import ENCODERS, EncoderSpec, _without_groups
from serving.exporting import lite, saved_model
from serving.exporting.graph import ExportedCaptioner
from serving.exporting.options import NONE
from tests.support import exporting
from tests.support.captioner import small_captioner
from tests.support.commands import ROOT
from tests.support.records import jpeg


def _exported(name: str) -> ExportedCaptioner:
    """Return a captioner with a random encoder, whose features depend on the image."""
    keras.utils.set_random_seed(0)
    captioner = small_captioner(0, name, feature_depth=ENCODERS[name].grid[2])
    encoder = captioner.encoder
    encoder.network.trainable = True
    for layer in encoder.network.layers:
        if type(layer).__name__ == "LayerScale":  # As it begins, its block adds nothing.
            layer.gamma.assign(np.full(layer.gamma.shape, 0.3))
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # Take these images' statistics, or the signal vanishes.
    encoder.network(encoder.spec.preprocess(_pixels(encoder.spec.size, seed=1)), training=True)
    size = captioner.decoder.config.vocabulary_size
    nothing = np.zeros(size, np.int32)
    words = [f"w{n}" for n in range(size)]
    search = BeamSearch(n_best=2, max_words=6)
    return ExportedCaptioner(Restored(captioner, {}, None), words, nothing, nothing, search)


def _pixels(size: int, seed: int = 0) -> np.ndarray:
    pixels = exporting.random_squares(2, 4 * -(-size // 4), seed)
    return np.ascontiguousarray(pixels[:, :size, :size])


@pytest.fixture(autouse=True)
def small_convnext(monkeypatch):
    """An encoder of ConvNeXt's blocks: to export ConvNeXt-Base takes 10 GB."""

    def network(weights):
        network = ConvNeXt(
            depths=[1, 2, 1, 1],
            projection_dims=[16, 24, 32, 40],
            weights=None,
            include_top=False,
            input_shape=(64, 64, 3),
        )
        return _without_groups(network)

    spec = EncoderSpec(64, (2, 2, 40), lambda images: images, network, pretrained=False)
    monkeypatch.setitem(ENCODERS, "small_convnext", spec)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_large", "efficientnet_v2_s", "small_convnext"])
def test_every_encoder_exports(name, tmp_path):
    exported = _exported(name)
    pixels = _pixels(exported.size)
    expected = exporting.compiled_find(exported)(pixels)
    assert not np.allclose(expected["scores"][0], expected["scores"][1])

    lite.write(exported, str(tmp_path / "model"), NONE)
    run = Interpreter(str(tmp_path / "model")).get_signature_runner("serving_default")
    for n in range(len(pixels)):
        captions = run(pixels=pixels[n : n + 1])
        np.testing.assert_array_equal(captions["ids"][0], expected["ids"][n])
        np.testing.assert_allclose(captions["scores"][0], expected["scores"][n], atol=1e-3)
        np.testing.assert_allclose(captions["attention"][0], expected["attention"][n], atol=1e-3)

    saved_model.write(exported, str(tmp_path / "1"), [jpeg(1)])
    np.savez(tmp_path / "in.npz", **{"pixels/all": pixels})
    script = [sys.executable, "-m", "tests.support.v1_session", tmp_path / "1"]
    subprocess.run([*script, tmp_path / "in.npz", tmp_path / "out.npz"], cwd=ROOT, check=True)
    with np.load(tmp_path / "out.npz") as outputs:
        np.testing.assert_allclose(outputs["pixels/all/scores"], expected["scores"], atol=1e-3)
