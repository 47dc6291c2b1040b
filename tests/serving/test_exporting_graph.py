"""The exported captioner and its SavedModel say what the run says, in any batch and without XLA."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from artifacts import restore
from captioning.search_options import BeamSearch
from model.caption_generator import CaptionGenerator
from serving.bundle.words import Words
from serving.exporting import saved_model
from serving.exporting.graph import ExportedCaptioner
from tests.support import exporting
from tests.support.commands import ROOT

ALL = "serving_default/all"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    return exporting.write_images(tmp_path_factory.mktemp("images") / "images")


@pytest.fixture(scope="module")
def run_captions(four_run, images):
    return exporting.captions_of_run(four_run, images)


@pytest.fixture(scope="module")
def saved(four_run, images, tmp_path_factory) -> Path:
    """Write a SavedModel of the run that knows four pictures."""
    folder = tmp_path_factory.mktemp("saved") / "1"
    warmup = [image.read_bytes() for image in images[:3]]
    saved_model.write(exporting.exported_run(four_run), str(folder), warmup)
    return folder


@pytest.fixture(scope="module")
def session_outputs(saved, images, tmp_path_factory) -> dict[str, np.ndarray]:
    """Run the SavedModel in a Session without XLA: all files, one alone, pixels, the warm-up."""
    files = np.array([image.read_bytes() for image in images])
    batches = {ALL: files, "pixels/all": exporting.squares(images, 64)}
    batches |= {f"serving_default/{n}": files[n : n + 1] for n in range(len(files))}
    for request in warmup_requests(saved):
        batch = tf.make_ndarray(request.inputs["image_bytes"])
        batches[f"{request.model_spec.signature_name}/warm-{len(batch)}"] = batch.astype("S")
    folder = tmp_path_factory.mktemp("session")
    np.savez(folder / "in.npz", **batches)
    script = [sys.executable, "-m", "tests.support.v1_session", saved]
    subprocess.run([*script, folder / "in.npz", folder / "out.npz"], cwd=ROOT, check=True)
    with np.load(folder / "out.npz") as outputs:
        return dict(outputs)


def warmup_requests(saved: Path) -> list:
    path = saved / "assets.extra" / "tf_serving_warmup_requests"
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    logs = map(prediction_log_pb2.PredictionLog.FromString, records)
    return [log.predict_log.request for log in logs]


def test_a_session_without_xla_says_what_the_run_says(session_outputs, run_captions):
    texts, words, scores, attention = (
        session_outputs[f"{ALL}/{key}"] for key in ("captions", "words", "scores", "attention")
    )
    assert words.shape == (len(run_captions), 3, 30)
    assert attention.shape == (*words.shape, 8, 8)
    for image, captions in enumerate(run_captions):
        assert len(captions) == 3
        for n, caption in enumerate(captions):
            assert texts[image, n].decode() == caption.text
            padded = [*caption.words, *[""] * (30 - len(caption.words))]
            assert [word.decode() for word in words[image, n]] == padded
            assert scores[image, n] == pytest.approx(caption.score, abs=1e-4)
            looked = attention[image, n, : len(caption.words)]
            np.testing.assert_allclose(looked, caption.attention, atol=1e-4)
    assert "a dog's ball lies in the grass" in {text.decode() for text in texts[:, 0]}


def test_files_alone_and_pixels_get_the_same(session_outputs):
    for key in ("captions", "words", "scores", "attention"):
        together = session_outputs[f"{ALL}/{key}"]
        alone = [session_outputs[f"serving_default/{n}/{key}"][0] for n in range(len(together))]
        for others in (np.stack(alone), session_outputs[f"pixels/all/{key}"]):
            if together.dtype.kind == "S":
                np.testing.assert_array_equal(together, others)
            else:
                np.testing.assert_allclose(together, others, atol=1e-4)


def test_the_warm_up_is_captioned_at_every_batch_size(saved, session_outputs):
    sizes = [int(r.inputs["image_bytes"].tensor_shape.dim[0].size) for r in warmup_requests(saved)]
    assert sizes == [1, 2, 4, 8, 16]
    first_three = session_outputs[f"{ALL}/captions"][:3]
    expected = [first_three[n % 3] for n in range(16)]
    np.testing.assert_array_equal(session_outputs["serving_default/warm-16/captions"], expected)


def test_the_batch_sizes_of_tensorflow_serving_end_at_its_largest():
    lines = saved_model.BATCHING_CONFIG.splitlines()
    allowed = [int(line.split()[1]) for line in lines if line.startswith("allowed_batch_sizes:")]
    assert allowed == [1, 2, 4, 8, 16]
    assert "max_batch_size { value: 16 }" in lines


def test_the_saved_model_demands_no_xla_and_holds_the_weights_once(saved, four_run):
    model = saved_model_pb2.SavedModel.FromString((saved / "saved_model.pb").read_bytes())
    assert "_XlaMustCompile" not in str(model)
    decoder = restore.restore(str(four_run)).captioner.decoder
    weights = sum(4 * int(np.prod(weight.shape)) for weight in decoder.weights)
    variables = tf.train.list_variables(str(saved / "variables" / "variables"))
    held = sum(4 * int(np.prod(shape)) for name, shape in variables if "OBJECT_GRAPH" not in name)
    assert held == weights


def test_neighbours_batch_size_and_order_never_change_a_caption(four_run):
    find = exporting.compiled_find(exporting.exported_run(four_run))
    pixels = exporting.random_squares(24)
    alone = [find(pixels[n : n + 1])["ids"][0].numpy() for n in range(len(pixels))]
    assert len({ids[0].tobytes() for ids in alone}) > 3
    rng = np.random.default_rng(2)
    for size in (*range(1, 18), 24, 31):
        chosen = rng.integers(0, len(pixels), size)  # The same image may come twice.
        np.testing.assert_array_equal(find(pixels[chosen])["ids"], [alone[n] for n in chosen])


VARIANTS = {
    "as many captions as beams": (BeamSearch(beam_size=4, n_best=4, length_penalty=0.0), {}),
    "without attention": (
        BeamSearch(n_best=2, length_penalty=2.0),
        {"attention": "none", "image_as": "first_input"},
    ),
    "static attention": (
        BeamSearch(n_best=2, min_length=2, max_words=6, no_repeat_ngram=2),
        {"attention": "static", "image_as": "context"},
    ),
    "n-grams longer than captions": (
        BeamSearch(max_words=5, no_repeat_ngram=9, length_penalty=2.0),
        {"gate": False, "deep_output": False, "feature_projection": 0},
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_model_and_search_gives_what_evaluation_gives(name):
    search, sizes = VARIANTS[name]
    exported = exporting.exported_small(search, **sizes)
    pixels = exporting.random_squares(6)
    captions = exporting.compiled_find(exported)(pixels)
    features = tf.reshape(exported.features(pixels), [6, 64, 128])
    expected = search.run(CaptionGenerator([exported.captioner]), [features])
    length = expected.ids.shape[-1]
    assert captions["ids"].shape == (6, search.n_best, search.max_words)
    np.testing.assert_array_equal(captions["ids"][..., :length], expected.ids)
    assert not np.any(captions["ids"][..., length:])
    np.testing.assert_allclose(captions["scores"], expected.score, atol=1e-4)
    assert ("attention" in captions) == (sizes.get("attention") != "none")
    if "attention" in captions:
        looked = np.reshape(captions["attention"], [6, search.n_best, search.max_words, 64])
        np.testing.assert_allclose(looked[:, :, :length], expected.attention, atol=1e-4)


def test_words_are_joined_as_the_bundle_joins_them():
    exported = exporting.exported_small(BeamSearch(beam_size=8, n_best=8))
    pixels = exporting.random_squares(6)
    ids = exporting.compiled_find(exported)(pixels)["ids"].numpy()
    sentences = tf.function(exported.captions, autograph=False)(tf.constant(pixels))
    words = Words(exported.words, tuple(exported.ends), tuple(exported.begins))
    for place in np.ndindex(ids.shape[:2]):
        of_words = words.ids_of_words(ids[place])
        assert sentences["captions"].numpy()[place].decode() == words.join(of_words)
        spoken = [word.decode() for word in sentences["words"].numpy()[place] if word]
        assert spoken == [words.words[n] for n in of_words]


def test_captions_that_were_not_found_are_empty():
    # One word at most, from a vocabulary of few: the beam holds more than there are.
    search = BeamSearch(beam_size=30, n_best=30, max_words=1)
    exported = exporting.exported_small(search)
    captions = tf.function(exported.captions)(tf.constant(exporting.random_squares(2)))
    missing = np.isneginf(captions["scores"])
    assert missing.any() and not missing.all()
    assert set(captions["captions"].numpy()[missing]) == {b""}
    assert not captions["attention"].numpy()[missing].any()


def test_bfloat16_is_not_exported(four_run):
    restored = restore.restore(str(four_run), "bfloat16")
    with pytest.raises(ValueError, match="float32"):
        ExportedCaptioner(restored, [], np.zeros(0), np.zeros(0), BeamSearch())
