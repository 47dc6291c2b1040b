"""Weights on disk: what is written is read, and nothing damaged is taken for whole."""

import json
import os

import keras
import numpy as np
import pytest

from artifacts import restore, weights_file
from artifacts.run_config import DataConfig, ModelConfig, RunConfig
from artifacts.run_folder import RunFolder
from cli.errors import UserError
from model.captioner import Captioner
from model.definition.decoder import DecoderConfig
from model.encoder import ENCODERS, Encoder, EncoderSpec
from tests.support.captioner import CAPTIONS, SIZES, padded, small_captioner
from tests.support.disk import full_disk

ARRAYS = {"a/kernel": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.array(7, np.int64)}
NOTE = {"step": 12, "best": {"CIDEr": 0.5}, "text": "Zürich"}


def test_round_trip(tmp_path):
    path = str(tmp_path / "w.npz")
    weights_file.save(path, ARRAYS, NOTE)
    arrays, note = weights_file.load(path)
    assert note == NOTE
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert os.listdir(tmp_path) == ["w.npz"]


def test_a_captioner_comes_back_the_same(tmp_path):
    path = str(tmp_path / "w.npz")
    first, second = small_captioner(1), small_captioner(2)
    weights_file.save(path, weights_file.gather(first.variables), {})
    weights_file.scatter(weights_file.load(path)[0], second.variables, path)
    for one, other in zip(first.variables, second.variables, strict=True):
        assert one.path == other.path
        np.testing.assert_array_equal(one, other)


def test_every_cut_of_a_file_is_seen(tmp_path):
    path = str(tmp_path / "w.npz")
    weights_file.save(path, ARRAYS, NOTE)
    content = (tmp_path / "w.npz").read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "w.npz").write_bytes(content[:length])
        with pytest.raises(weights_file.DamagedError, match=r"w.npz"):
            weights_file.load(path)


def test_every_changed_byte_is_seen_or_harmless(tmp_path):
    path = str(tmp_path / "w.npz")
    weights_file.save(path, ARRAYS, NOTE)
    content = bytearray((tmp_path / "w.npz").read_bytes())
    refused = 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        (tmp_path / "w.npz").write_bytes(changed)
        try:
            arrays, note = weights_file.load(path)
        except weights_file.DamagedError:
            refused += 1
            continue
        # A date in the zip's directory, say, or an entry of it lost: `scatter` misses the array.
        assert note == NOTE
        assert arrays.keys() <= ARRAYS.keys()
        assert all(a.tobytes() == ARRAYS[name].tobytes() for name, a in arrays.items()), place
    assert refused > len(content) / 2


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "w.npz"
    for content in (b"", b"<html>", b"PK\x03\x04 and so on", b"\x80\x04K\x01."):
        path.write_bytes(content)
        with pytest.raises(weights_file.DamagedError):
            weights_file.load(str(path))
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))  # numpy's, and no archive
    with pytest.raises(weights_file.DamagedError):
        weights_file.load(str(path))
    np.savez(path, a=np.zeros(3))  # an archive, and not ours
    with pytest.raises(weights_file.DamagedError):
        weights_file.load(str(path))
    with pytest.raises(FileNotFoundError):
        weights_file.load(str(tmp_path / "none.npz"))


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_no_pickle_is_ever_read(tmp_path):
    path = str(tmp_path / "w.npz")
    note = np.frombuffer(json.dumps(NOTE).encode(), np.uint8)
    bomb = np.array([Bomb(tmp_path / "went off"), None], dtype=object)
    np.savez(path, **{"note.json": note, "a": bomb})
    with pytest.raises(weights_file.DamagedError):
        weights_file.load(path)
    assert os.listdir(tmp_path) == ["w.npz"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = str(tmp_path / "w.npz")
    weights_file.save(path, ARRAYS, NOTE)
    with full_disk(64_000), pytest.raises(OSError):
        weights_file.save(path, {"big": np.zeros(100_000)}, {})
    assert os.listdir(tmp_path) == ["w.npz"]
    assert weights_file.load(path)[1] == NOTE


def test_arrays_that_do_not_fit_are_refused():
    captioner = small_captioner()
    arrays = weights_file.gather(captioner.decoder.variables)
    name = captioner.decoder.embedding.path
    for changed in (
        {k: v for k, v in arrays.items() if k != name},
        arrays | {name: np.zeros((5, 5), np.float32)},
    ):
        with pytest.raises(weights_file.DamagedError, match=f"w.npz: .*{name}"):
            weights_file.scatter(changed, captioner.decoder.variables, "w.npz")


@pytest.mark.parametrize(
    "name", ["small_cnn", pytest.param("inception_v3", marks=pytest.mark.slow)]
)
def test_paths_do_not_hang_on_what_was_built_before(name):
    paths = [[v.path for v in Encoder(name).variables] for _ in range(2)]
    assert paths[0] == paths[1]


def _normalised(weights: str | None) -> keras.Model:
    image = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(8, 8, 8)(image)
    return keras.Model(image, keras.layers.BatchNormalization()(x))


@pytest.fixture
def batch_normalised(monkeypatch):
    """An encoder with batch statistics, which training leaves as they are."""
    spec = EncoderSpec(64, (8, 8, 8), lambda images: images / 255, _normalised, pretrained=False)
    monkeypatch.setitem(ENCODERS, "batch_normalised", spec)


def _config(encoder: str, trainable: bool) -> ModelConfig:
    decoder = DecoderConfig(**SIZES | {"feature_depth": ENCODERS[encoder].grid[2]})
    return ModelConfig(encoder, trainable, decoder)


def _write_run(run_dir, captioner: Captioner, config: ModelConfig) -> None:
    """A run's folder as the trainer leaves it."""
    (run_dir / "checkpoints").mkdir(parents=True)
    RunConfig(config, {}, DataConfig("none", "", "", 1)).write(RunFolder(str(run_dir)))
    if captioner.non_trainable_variables:
        frozen = weights_file.gather(captioner.non_trainable_variables)
        weights_file.save(str(run_dir / "encoder.npz"), frozen, {})
    best = weights_file.gather(captioner.trainable_variables)
    weights_file.save(str(run_dir / "checkpoints" / "best.npz"), best, {"epoch": 3, "step": 40})


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("encoder", ["small_cnn", "batch_normalised"])
def test_restore_needs_the_run_alone(tmp_path, batch_normalised, encoder, trainable):
    config = _config(encoder, trainable)
    captioner = restore.build(config)
    for variable in captioner.variables:
        variable.assign(variable + 0.01)  # nothing is as it is built
    _write_run(tmp_path / "run", captioner, config)
    found = restore.restore(str(tmp_path / "run"))
    assert found.note == {"epoch": 3, "step": 40}
    restored = found.captioner
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(restored.encoder(images), captioner.encoder(images))
    features = captioner.encoder(images)
    forced = [c.teacher_force(features, padded(CAPTIONS[:2])).nll for c in (captioner, restored)]
    np.testing.assert_array_equal(*forced)


def test_restore_says_what_is_missing(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"no run here .*trainer.main"):
        restore.restore(str(run))
    config = _config("small_cnn", False)
    _write_run(run, restore.build(config), config)
    (run / "encoder.npz").rename(tmp_path / "encoder.npz")
    with pytest.raises(UserError, match=r"encoder.npz is missing"):
        restore.restore(str(run))
    (tmp_path / "encoder.npz").rename(run / "encoder.npz")
    best = run / "checkpoints" / "best.npz"
    best.write_bytes(best.read_bytes()[:1000])
    with pytest.raises(weights_file.DamagedError, match=r"best.npz"):
        restore.restore(str(run))
    best.unlink()
    with pytest.raises(UserError, match=r"no trained weights yet.*first epoch"):
        restore.restore(str(run))
    for content in ("", "{", "[]", '{"model": {}}'):
        (run / "config.json").write_text(content)
        with pytest.raises(weights_file.DamagedError, match=r"config.json: not a run's config"):
            restore.restore(str(run))


def test_two_variables_of_one_path_are_refused():
    captioner = Captioner(Encoder("small_cnn"), DecoderConfig(**SIZES))
    with pytest.raises(ValueError, match=r"share a path"):
        weights_file.gather([captioner.decoder.embedding] * 2)
