"""Training and evaluation on features that the records hold."""

import contextlib
import dataclasses
import functools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from artifacts import restore
from cli.errors import UserError
from model import encoder
from model.captioner import Captioner
from model.definition.decoder import DecoderConfig
from records import manifest
from records.split_files import open_split
from tests.support.commands import one_error
from tests.support.records import build_scenes
from tests.support.shared import make_once
from tests.support.training import config, run_evaluate, train
from trainer.input import reading
from trainer.input.batches import TrainingBatches
from trainer.input.feature_cache import FeatureCache, stream
from trainer.opening.inputs import choose_inputs, repeat_random_weights

pytestmark = pytest.mark.usefixtures("without_meteor")


@pytest.fixture(scope="session")
def scenes_features(scenes_data):
    """A function that builds records of the sixty scenes with features of the small network."""

    def build(output_dir: Path, **options) -> None:
        defaults = {
            "features": "small_cnn",
            "encoder_weights": "random",
            "feature_dtype": "float32",
            "seed": 7,
        }
        build_scenes(scenes_data, output_dir, **(defaults | options))

    return build


@pytest.fixture(scope="session")
def alone(scenes_features, shared_folder) -> Path:
    """Records that hold features and no images."""
    return make_once(shared_folder / "features-alone", scenes_features)


@pytest.fixture(scope="session")
def both(scenes_features, shared_folder) -> Path:
    """Records that hold features beside the images."""
    build = functools.partial(scenes_features, store="both")
    return make_once(shared_folder / "features-both", build)


@contextlib.contextmanager
def no_images() -> Iterator[None]:
    """Let no image be decoded or encoded: features are stored."""

    def never(*_args, **_kwargs):
        raise AssertionError("features are stored")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder.Encoder, "call", never)
        patch.setattr(reading, "decode", never)
        yield


@pytest.fixture(scope="module")
def run(alone, tmp_path_factory) -> Path:
    """A run on features alone, read from the disk in each epoch, no flag naming the encoder."""
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    options = {"encoder": None, "encoder_weights": None, "epochs": 2, "cache_memory_mb": 0}
    with no_images():
        assert train(records_dir=alone, run_dir=run_dir, **options) == 0
    return run_dir


def sources(records_dir: Path, split: str):
    """(the split as images, the split as features, the encoder that the features are of)."""
    info, images = open_split(str(records_dir), split)
    made = config(encoder_weights="random")
    captioner = Captioner(encoder.Encoder("small_cnn"), DecoderConfig(10, 128))
    repeat_random_weights(captioner, made, info)
    features = choose_inputs(images, info, captioner)
    assert images.grid is None and features.grid == (8, 8, 128)
    return images, features, captioner


# What is read.


def test_stored_features_are_those_of_the_images_beside_them(both):
    images, features, captioner = sources(both, "train")
    for cached in (False, True):
        made = config(records_dir=both)
        computed, read = (
            list(TrainingBatches(made, files, captioner, cached and files is features).epoch(2))
            for files in (images, features)
        )
        assert len(computed) == len(read) == 12
        for (pixels, ids, _), (grids, read_ids, _) in zip(computed, read, strict=True):
            np.testing.assert_array_equal(ids, read_ids)
            assert grids.dtype == tf.float16 and grids.shape[1:] == (64, 128)
            np.testing.assert_allclose(captioner.encoder(pixels), grids, rtol=2e-3, atol=2e-3)


def test_a_split_of_features_streams_and_caches_as_one_of_images(both):
    images, features, captioner = sources(both, "val")
    cached = FeatureCache.fill(features, captioner).split
    [computed], [read] = (list(stream(files, captioner, "test")) for files in (images, features))
    for other in (cached, read):
        np.testing.assert_array_equal(computed.image_ids, other.image_ids)
        np.testing.assert_array_equal(computed.texts, other.texts)
        np.testing.assert_array_equal(computed.ids, other.ids)
        np.testing.assert_allclose(computed.features, other.features, rtol=2e-3, atol=2e-3)


def test_strict_pairs_carry_the_features_of_their_image(both, scenes_features, tmp_path):
    _, images, captioner = sources(both, "val")
    scenes_features(tmp_path, captions_per_record=1)
    _, pairs, _ = sources(tmp_path, "val")
    of_image = {}
    for batch in stream(images, captioner, "test"):
        of_image |= dict(zip(batch.image_ids, batch.features, strict=True))
    pairs_read = 0
    for batch in stream(pairs, captioner, "test"):
        for image_id, features in zip(batch.image_ids, batch.features, strict=True):
            np.testing.assert_array_equal(of_image[image_id], features)
            pairs_read += 1
    assert pairs_read == 5 * len(of_image) == 30


def test_features_of_another_length_are_a_line(both):
    _, features, captioner = sources(both, "val")
    other = dataclasses.replace(features, grid=(8, 8, 127))
    with pytest.raises(UserError, match=r"'val' cannot be read.*verify_records"):
        list(stream(other, captioner, "test"))


# Runs.


def test_a_run_takes_its_encoder_from_the_features(run, alone):
    training = json.loads((run / "config.json").read_text())["training"]
    assert (training["encoder"], training["encoder_weights"]) == ("small_cnn", "random")
    captioner = restore.restore(str(run)).captioner
    assert captioner.encoder.fingerprint() == manifest.read_info(str(alone)).encoder.weights


def test_no_image_is_decoded_or_encoded(run, alone, tmp_path):
    with no_images():  # as in the training of `run`
        assert run_evaluate(records_dir=alone, run_dir=run, output_dir=tmp_path / "out") == 0


@pytest.mark.slow
def test_runs_on_images_and_on_features_are_evaluated_on_either(
    run, alone, both, tmp_path, scenes_records
):
    results = []
    for name, records in (("features", alone), ("images", scenes_records)):
        output = tmp_path / name
        assert run_evaluate(records_dir=records, run_dir=run, output_dir=output) == 0
        captions = json.loads((output / "captions_val_run_results.json").read_text())
        results.append({caption["image_id"]: caption["caption"] for caption in captions})
    assert results[0] == results[1]
    # A run on images with those weights.
    path = tmp_path / "drawn.weights.h5"
    restore.restore(str(run)).captioner.encoder.network.save_weights(path)
    other = tmp_path / "other"
    code = train(records_dir=scenes_records, run_dir=other, epochs=1, encoder_weights=path)
    assert code == 0
    assert run_evaluate(records_dir=alone, run_dir=other, output_dir=tmp_path / "o") == 0
    # And it goes on with features.
    named = {"encoder": None, "encoder_weights": None}
    assert train(records_dir=alone, run_dir=other, epochs=2, extend_schedule=True, **named) == 0


@pytest.mark.slow  # Trains two runs.
def test_images_serve_where_features_do_not(both, alone, tmp_path, capsys):
    run_dir = tmp_path / "run"
    code = train(records_dir=both, run_dir=run_dir, epochs=1, encoder_trainable=True)
    assert code == 0
    trained = restore.restore(str(run_dir)).captioner.encoder.fingerprint()
    assert (
        trained != json.loads((run_dir / "config.json").read_text())["data"]["encoder_fingerprint"]
    )
    capsys.readouterr()
    assert run_evaluate(records_dir=both, run_dir=run_dir, output_dir=tmp_path / "out") == 0
    assert "trained with the decoder: the images are used" in capsys.readouterr().out
    assert run_evaluate(records_dir=alone, run_dir=run_dir, output_dir=tmp_path / "out") == 1
    assert "the model's encoder is trained with the decoder; give" in one_error(capsys)


def test_features_of_others_are_refused(run, alone, scenes_features, tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert train(records_dir=alone, run_dir=run_dir, encoder="mobilenet_v2") == 2
    assert f"--encoder=mobilenet_v2 contradicts {alone}" in one_error(capsys)
    assert train("--augment", records_dir=alone, run_dir=run_dir) == 2
    assert f"--augment needs images and {alone} holds features" in one_error(capsys)
    assert train(records_dir=alone, run_dir=run_dir, encoder_trainable=True) == 2
    assert f"--encoder_trainable needs images and {alone} holds features" in one_error(capsys)
    path = tmp_path / "other.weights.h5"
    encoder.Encoder("small_cnn").network.save_weights(path)
    assert train(records_dir=alone, run_dir=run_dir, encoder_weights=path) == 1
    error = one_error(capsys)
    assert f"{alone}: its features are of small_cnn with the weights " in error
    assert not run_dir.exists()
    # Other weights than those of the run that goes on, or is evaluated.
    others = tmp_path / "others"
    scenes_features(others, seed=8)
    assert train(records_dir=others, run_dir=run, epochs=3, extend_schedule=True) == 1
    assert "the model's encoder has the weights " in one_error(capsys)
    assert run_evaluate(records_dir=others, run_dir=run, output_dir=tmp_path) == 1
    assert "the model's encoder has the weights " in one_error(capsys)


def test_features_of_another_preprocessing_are_refused(run, alone, tmp_path, capsys):
    changed = tmp_path / "changed"
    shutil.copytree(alone, changed)
    info = manifest.read_info(str(changed))
    encoder = dataclasses.replace(info.encoder, preprocessing=0)
    info = dataclasses.replace(info, encoder=encoder)
    (changed / manifest.DATASET_INFO).write_bytes(info.to_bytes())
    assert train(records_dir=changed, run_dir=tmp_path / "run") == 1
    assert "were made with version 0 of the preprocessing" in one_error(capsys)
    assert run_evaluate(records_dir=changed, run_dir=run, output_dir=tmp_path / "out") == 1
    assert "the model's is 2" in one_error(capsys)
