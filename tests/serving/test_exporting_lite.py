"""The LiteRT model says what the run says, alone and in built-in operations; quantised, nearly."""

import functools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from captioning.search_options import BeamSearch
from cli.errors import UserError
from model.encoder import ENCODERS, EncoderSpec
from serving.exporting import lite
from serving.exporting.graph import ExportedCaptioner
from serving.exporting.options import FLOAT16, INT8, NONE, QUANTIZE
from tests.support import exporting

PIXELS = exporting.random_squares(6)


@pytest.fixture(scope="module")
def exported(four_run) -> ExportedCaptioner:
    return exporting.exported_run(four_run)


@pytest.fixture(scope="module")
def four_squares(tmp_path_factory, exported) -> np.ndarray:
    """Return the four pictures, and noise of several sizes."""
    files = exporting.write_images(tmp_path_factory.mktemp("images") / "images")
    return exporting.squares(files, exported.size)


@pytest.fixture(scope="module")
def models(exported, tmp_path_factory) -> dict[str, Path]:
    """Write the run's model as it is and quantised each way."""
    folder = tmp_path_factory.mktemp("lite")
    with pytest.MonkeyPatch.context() as patch:
        # All three begin with the same conversion, which takes seconds.
        patch.setattr(lite, "_converted", functools.cache(lite._converted))
        for quantize in QUANTIZE:
            lite.write(exported, str(folder / quantize), quantize)
    return {quantize: folder / quantize for quantize in QUANTIZE}


def captions_of(model: Path, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Caption images one by one with LiteRT's own interpreter, as a phone does."""
    interpreter = Interpreter(str(model))
    assert list(interpreter.get_signature_list()) == ["serving_default"]
    run = interpreter.get_signature_runner("serving_default")
    outputs = [run(pixels=pixels[n : n + 1]) for n in range(len(pixels))]
    return {key: np.concatenate([output[key] for output in outputs]) for key in outputs[0]}


def kernels(model: Path) -> dict[str, set[int]]:
    """Return the types of the kernels of each operation, in all subgraphs."""
    read = schema.ModelT.InitFromPackedBuf(model.read_bytes(), 0)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    codes = [names[code.builtinCode] for code in read.operatorCodes]
    assert not any(code.customCode for code in read.operatorCodes)  # Flex is a custom operation
    types: dict[str, set[int]] = {}
    for graph in read.subgraphs:
        # What an operation multiplies by may come out of a DEQUANTIZE.
        origin = {op.outputs[0]: op for op in graph.operators if len(op.outputs) == 1}
        for op in graph.operators:
            if codes[op.opcodeIndex] not in ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"):
                continue
            tensor = op.inputs[1]
            if tensor in origin and codes[origin[tensor].opcodeIndex] == "DEQUANTIZE":
                tensor = origin[tensor].inputs[0]
            kind = types.setdefault(codes[op.opcodeIndex], set())
            kind.add(graph.tensors[tensor].type)
    assert any("while" in graph.name.decode() for graph in read.subgraphs)
    return types


def test_float32_says_what_the_run_says(models, exported, four_squares):
    expected = exporting.compiled_find(exported)(four_squares)
    captions = captions_of(models[NONE], four_squares)
    assert captions.keys() == expected.keys() == {"ids", "scores", "attention"}
    assert captions["ids"].dtype == np.int32
    np.testing.assert_array_equal(captions["ids"], expected["ids"])
    np.testing.assert_allclose(captions["scores"], expected["scores"], atol=1e-4)
    np.testing.assert_allclose(captions["attention"], expected["attention"], atol=1e-4)


@pytest.mark.parametrize("quantize", [FLOAT16, INT8])
def test_quantised_models_are_half_as_large_and_know_the_four_pictures(
    models, four_squares, quantize
):
    sizes = {name: path.stat().st_size for name, path in models.items()}
    assert sizes[quantize] < 0.7 * sizes[NONE]
    expected, captions = (captions_of(models[q], four_squares[:4]) for q in (NONE, quantize))
    np.testing.assert_array_equal(captions["ids"][:, 0], expected["ids"][:, 0])
    np.testing.assert_allclose(captions["scores"][:, 0], expected["scores"][:, 0], atol=0.05)


def test_what_is_quantised(models):
    float32, float16, int8 = (
        getattr(schema.TensorType, name) for name in ("FLOAT32", "FLOAT16", "INT8")
    )
    found = {quantize: kernels(path) for quantize, path in models.items()}
    assert found[NONE] == {"FULLY_CONNECTED": {float32}, "CONV_2D": {float32}}
    assert found[FLOAT16] == {"FULLY_CONNECTED": {float16}, "CONV_2D": {float16}}
    # The decoder's kernels, in the loop too, and never the encoder's convolutions.
    assert found[INT8] == {"FULLY_CONNECTED": {int8}, "CONV_2D": {float32}}


VARIANTS = {
    "one beam, nothing to look at": (
        BeamSearch(beam_size=1, min_length=3),
        {"attention": "none", "image_as": "first_input"},
    ),
    "static, cut at five words": (
        BeamSearch(beam_size=4, n_best=4, max_words=5, no_repeat_ngram=9),
        {"attention": "static", "image_as": "context", "gate": False, "feature_projection": 0},
    ),
    "more captions than there are": (
        BeamSearch(beam_size=20, n_best=20, max_words=1),
        {"deep_output": False},
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_model_and_search_gives_the_same(name, tmp_path):
    search, sizes = VARIANTS[name]
    exported = exporting.exported_small(search, **sizes)
    lite.write(exported, str(tmp_path / "model"), NONE)
    captions = captions_of(tmp_path / "model", PIXELS)
    expected = exporting.compiled_find(exported)(PIXELS)
    assert captions.keys() == expected.keys()
    np.testing.assert_array_equal(captions["ids"], expected["ids"])
    np.testing.assert_allclose(captions["scores"], expected["scores"], atol=1e-4)


def test_a_frozen_gelu_is_one_of_litert(tmp_path, monkeypatch):
    def network(weights):
        image = keras.Input((64, 64, 3))
        x = keras.layers.Conv2D(32, 8, 8)(image)
        x = keras.layers.Dense(64, activation="gelu")(keras.layers.LayerNormalization()(x))
        return keras.Model(image, keras.layers.Dense(128)(x))

    spec = EncoderSpec(64, (8, 8, 128), lambda images: images / 64, network, pretrained=False)
    monkeypatch.setitem(ENCODERS, "gelu", spec)
    exported = exporting.exported_small(BeamSearch(beam_size=2, max_words=4), encoder="gelu")
    lite.write(exported, str(tmp_path / "model"), NONE)
    captions = captions_of(tmp_path / "model", PIXELS)
    expected = exporting.compiled_find(exported)(PIXELS)
    np.testing.assert_allclose(captions["scores"], expected["scores"], atol=1e-4)


def test_a_model_without_weights_is_refused(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(lite, "_converted", lambda exported: b"x" * 45_000)
    with pytest.raises(UserError, match=r"left out weights: the model has 45,000 bytes"):
        lite.write(exported, str(tmp_path / "model"), NONE)
    assert not (tmp_path / "model").exists()


def test_operations_that_litert_does_not_have_are_refused(exported, tmp_path, monkeypatch):
    def find(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"ids": tf.linalg.qr(pixels[0, ..., 0])[0]}

    monkeypatch.setattr(exported, "find", find)
    with pytest.raises(UserError, match=r"built-in operations") as raised:
        lite.write(exported, str(tmp_path / "model"), NONE)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "model").exists()
