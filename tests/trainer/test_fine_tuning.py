"""An encoder that is trained on: its learning rate, its batch norm."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from artifacts import weights_file
from artifacts.run_folder import RunFolder
from model.captioner import Captioner
from model.definition.decoder import DecoderConfig
from model.encoder import Encoder
from tests.support.captioner import CAPTIONS, SIZES, padded
from tests.support.commands import one_error
from tests.support.normed import use_normed_encoder
from tests.support.shared import make_once
from tests.support.training import config, train
from trainer import loop
from trainer.optimizer import build_optimizer
from trainer.step import build_step

STEPS = {"max_steps": 3, "epochs": 1, "warmup_steps": 0}


@pytest.fixture(autouse=True)
def normed_encoder(monkeypatch) -> Iterator[None]:
    """Use the small network with batch norm, and compile nothing: that takes most of the time."""
    use_normed_encoder(monkeypatch)
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def frozen_run(scenes_records, shared_folder) -> Path:
    """A run whose encoder is frozen."""

    def make(run_dir: Path) -> None:
        assert train(records_dir=scenes_records, run_dir=run_dir, **STEPS) == 0

    return make_once(shared_folder / "normed-run", make)


def weights(run_dir: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the best weights of a run, and those that training left as they were."""
    folder = RunFolder(str(run_dir))
    return weights_file.load(folder.best)[0], weights_file.load(folder.frozen)[0]


def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray], part: str) -> float:
    """Return how far the weights of a part moved at most."""
    return max(float(np.abs(after[n] - before[n]).max()) for n in after if n.startswith(part))


def test_the_encoder_of_a_run_is_trained_at_a_rate_of_its_own(frozen_run, scenes_records, tmp_path):
    def tuned(name: str, **options) -> tuple[float, float]:
        run_dir = tmp_path / name
        options |= {"records_dir": scenes_records, "init_run": frozen_run, "run_dir": run_dir}
        assert train("--encoder_trainable", **(STEPS | options)) == 0
        after, still = weights(run_dir)
        for name, value in still.items():
            np.testing.assert_array_equal(value, before[name], err_msg=name)
        assert after.keys() - trained.keys() == encoder_names
        return moved(before, after, "stem"), moved(before, after, "decoder")

    trained, frozen = weights(frozen_run)
    before = trained | frozen
    statistics = {"stem_norm/moving_mean", "stem_norm/moving_variance"}
    encoder_names = {n for n in frozen.keys() - statistics if "seed" not in n}
    assert {"stem/kernel", "stem_norm/gamma", "head/kernel"} < encoder_names
    encoder, decoder = tuned("same")
    assert encoder == pytest.approx(decoder, rel=0.5)
    slow, decoder_beside_it = tuned("slow", encoder_learning_rate=5e-5)  # a hundredth
    assert slow == pytest.approx(encoder / 100, rel=0.3)
    assert decoder_beside_it == pytest.approx(decoder, rel=0.3)


@pytest.mark.usefixtures("without_meteor")
def test_a_run_that_was_stopped_ends_at_the_same_weights_bit_for_bit(
    frozen_run, scenes_records, tmp_path, monkeypatch
):
    """Pieces, views of images and the encoder's rate go on as they would have."""
    flags = ("--encoder_trainable", "--augment", "--deterministic")
    options = STEPS | {
        "records_dir": scenes_records,
        "init_run": frozen_run,
        "encoder_learning_rate": 1e-3,
        "accumulate_steps": 2,
        "max_steps": 4,
    }
    assert train(*flags, run_dir=tmp_path / "whole", **options) == 0
    build_step = loop.build_step

    def stopping(*args):
        step, calls = build_step(*args), []

        def stop(*batch):
            calls.append(1)
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(*batch)

        return stop

    with monkeypatch.context() as patch:
        patch.setattr(loop, "build_step", stopping)
        assert train(*flags, run_dir=tmp_path / "stopped", **options) == 75
    assert train(*flags, run_dir=tmp_path / "stopped", **options) == 0
    kept = [
        weights_file.load(str(tmp_path / name / "checkpoints" / "step-000000004.npz"))[0]
        for name in ("whole", "stopped")
    ]
    assert kept[0].keys() == kept[1].keys()
    for name, value in kept[0].items():
        assert value.tobytes() == kept[1][name].tobytes(), name
    started = weights_file.load(str(tmp_path / "stopped" / "checkpoints" / "step-000000002.npz"))
    assert any((started[0][name] != value).any() for name, value in kept[0].items())


def scene_batch(images: int = 4) -> tuple[tf.Tensor, tf.Tensor]:
    """Return random images and a few captions of each; the last image has only one."""
    pixels = np.random.default_rng(1).uniform(0, 255, (images, 64, 64, 3)).astype(np.float32)
    return tf.constant(pixels), padded([CAPTIONS[i % 3] for i in range(images)])


def tunable_captioner() -> Captioner:
    """Return a captioner whose encoder is trained, in the plain formulation."""
    tf.keras.utils.set_random_seed(1)
    sizes = SIZES | {"feature_depth": 128}
    captioner = Captioner(Encoder("small_cnn", trainable=True), DecoderConfig(**sizes))
    captioner.plain = True
    return captioner


def test_a_step_leaves_batch_norm_its_statistics_and_does_not_take_those_of_the_batch():
    captioner = tunable_captioner()
    recipe = config(dropout=0, l2=0, warmup_steps=0)
    optimizer = build_optimizer(recipe, 10)
    optimizer.build(captioner.trainable_variables)
    before = weights_file.gather(captioner.non_trainable_variables)
    assert {"stem_norm/moving_mean", "stem_norm/moving_variance"} < before.keys()
    features = captioner.features(scene_batch()[0])
    np.testing.assert_allclose(captioner.features(scene_batch()[0][:1])[0], features[0], atol=1e-5)
    build_step(recipe, captioner, optimizer)(*scene_batch())
    after = weights_file.gather(captioner.non_trainable_variables)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert np.abs(captioner.features(scene_batch()[0]) - features).max() > 1e-3  # it did learn


def test_a_rate_for_an_encoder_that_is_not_trained_is_refused(scenes_records, tmp_path, capsys):
    run = {"records_dir": scenes_records, "run_dir": tmp_path / "run"}
    assert train(encoder_learning_rate=1e-5, **run) == 2
    assert "1e-05: the encoder is frozen; add --encoder_trainable" in one_error(capsys)
    rates = {"encoder_learning_rate": 1e-5, "learning_rate": 0}
    assert train("--encoder_trainable", **rates, **run) == 2
    assert "follows the schedule of the decoder's learning rate, which is 0" in one_error(capsys)
    assert not (tmp_path / "run").exists()
