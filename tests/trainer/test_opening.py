"""What lies in a run's folder decides how a training begins: anew, resumed, or not at all."""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import socket

import numpy as np
import pytest

from artifacts import provenance, restore, weights_file
from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from cli import atomic_file, process_lock
from cli.errors import UserError
from records.manifest import read_info, read_vocabulary
from records.vocabulary import Vocabulary
from tests.support.commands import one_error
from tests.support.records import CocoFolder, build_coco, build_scenes, jpeg
from tests.support.training import config as training_config
from tests.support.training import events, run_evaluate, train
from trainer import main
from trainer.opening.plan import Plan
from trainer.opening.same_records import require_same_records


@pytest.fixture(scope="module")
def trained(tmp_path_factory, scenes_records):
    """A run of one epoch of two steps. Tests read it and write nothing into it."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    assert train(records_dir=scenes_records, run_dir=run_dir, batch_size=24, epochs=1) == 0
    return run_dir


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy of `trained`."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def again(scenes_records, run_dir):
    """A function that gives the command of `trained` again, for its copy."""
    same = {"records_dir": scenes_records, "run_dir": run_dir, "batch_size": 24, "epochs": 1}
    return lambda *args, **options: train(*args, **(same | options))


@pytest.fixture
def opened(monkeypatch) -> list:
    """The runs that the commands of a test open: nothing is trained."""
    runs = []

    class NoLoop:
        def __init__(self, _recipe, run, *_):
            runs.append(run)

        def run(self) -> int:
            return 0

    monkeypatch.setattr(main, "Loop", NoLoop)
    monkeypatch.setattr(main, "TrainingBatches", lambda *_: None)
    monkeypatch.setattr(main, "open_validation", lambda *_, **__: None)
    monkeypatch.setattr(main, "_describe_best", lambda recipe: recipe.run_dir)
    return runs


def config(run_dir) -> dict:
    return json.loads((run_dir / "config.json").read_text())


def as_of_an_earlier_version(run_dir) -> None:
    """Take from a run's config.json what earlier versions did not write."""
    content = config(run_dir)
    del content["data"]["records_fingerprint"]
    for name in ("schedule", "trained", "initial", "id", "checksum"):
        del content[name]
    (run_dir / "config.json").write_text(json.dumps(content))
    for path in (run_dir / "checkpoints").iterdir():
        arrays, note = weights_file.load(str(path))
        del note["run"]
        weights_file.save(str(path), arrays, note)


def digests(run_dir) -> dict[str, tuple[int, int]]:
    """Size and time of every file of a run."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in run_dir.rglob("*")
        if path.is_file()
    }


# A path is a path, whatever is in it.


@pytest.mark.slow
@pytest.mark.usefixtures("without_meteor")
def test_a_path_with_characters_of_a_glob_is_resumed(tmp_path, trained, scenes_records, capsys):
    name = "lr[1e-3] a*b? {x}"
    records, run_dir = tmp_path / f"records {name}", tmp_path / f"run {name}"
    shutil.copytree(scenes_records, records)
    shutil.copytree(trained, run_dir)
    same = {"records_dir": records, "run_dir": run_dir, "batch_size": 24}
    before = config(run_dir)
    assert train("--extend_schedule", **same, max_steps=3, profile_steps="3:3") == 0
    assert "resuming from step 2 of 3" in capsys.readouterr().err
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == [
        *("best.npz", "step-000000002.npz", "step-000000003.npz")
    ]
    assert config(run_dir)["data"] == before["data"]
    assert events(run_dir)["val/CIDEr"] == [2, 3]
    assert list((run_dir / "events").rglob("*.xplane.pb"))
    assert run_evaluate(run_dir=run_dir, records_dir=records) == 0
    assert (run_dir / "evaluation" / "val" / "metrics.json").exists()


# A run is never started over.


def test_weights_without_a_config_are_not_overwritten(run_dir, again, capsys):
    (run_dir / "config.json").unlink()
    before = digests(run_dir)
    assert again() == 1
    error = one_error(capsys)
    assert f"{run_dir}/checkpoints: holds best.npz and {run_dir}/config.json is missing" in error
    assert digests(run_dir) == before


def test_best_weights_without_a_checkpoint_are_not_overwritten(run_dir, again, capsys):
    (run_dir / "checkpoints" / "step-000000002.npz").unlink()
    before = digests(run_dir)
    assert again() == 1
    assert "best.npz: no checkpoint to resume from lies beside it" in one_error(capsys)
    assert digests(run_dir) == before


def test_a_run_that_was_killed_before_its_first_checkpoint_says_that_it_begins(
    run_dir, again, capsys, opened
):
    shutil.rmtree(run_dir / "checkpoints")
    assert again() == 0
    assert f"{run_dir}: no checkpoint yet: training begins at step 0" in capsys.readouterr().out
    assert not opened[0].finished


def test_a_run_without_weights_begins_anew_with_other_flags(run_dir, again, capsys, opened):
    shutil.rmtree(run_dir / "checkpoints")
    for options, said in (
        ({"learning_rate": 1e-3}, "--learning_rate=0.001"),
        ({"learning_rate": 1e-3, "epochs": 3}, "--epochs=3"),
        ({"learning_rate": 1e-3, "epochs": 2, "rnn_units": 12}, "--epochs=2, --rnn_units=12"),
    ):
        assert again(**options) == 0
        line = f"{run_dir}: no checkpoint yet: the run begins anew with {said}"
        assert capsys.readouterr().out.splitlines()[0] == line
        assert config(run_dir)["training"] | options == config(run_dir)["training"]
        assert opened[-1].plan == (2 * options.get("epochs", 1),) * 2
        assert opened[-1].id == config(run_dir)["id"]
        assert again(**options) == 0
        assert "no checkpoint yet: training begins at step 0" in capsys.readouterr().out


def test_weights_are_never_begun_anew(run_dir, again, capsys):
    for _ in ("all weights", "the best ones alone"):
        before = digests(run_dir)
        assert again(learning_rate=1e-3) == 2
        assert "--learning_rate=0.001 contradicts the run" in one_error(capsys)
        assert digests(run_dir) == before
        (run_dir / "checkpoints" / "step-000000002.npz").unlink(missing_ok=True)


# The schedule is the run's.


def test_a_finished_run_says_so(run_dir, again, capsys):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    note = weights_file.load_note(str(run_dir / "checkpoints" / "best.npz"))
    score = f"greedy CIDEr {100 * note['CIDEr']:.1f}"
    for options in ({}, {"epochs": None}, {"epochs": None, "max_steps": 2}):
        assert again(**options) == 0
        captured = capsys.readouterr()
        assert captured.out.splitlines() == [
            f"{run_dir} is finished: 2 of 2 steps are done",
            f"done: the best weights are {run_dir}/checkpoints/best.npz (epoch 1, {score})",
        ]
        assert "features" not in captured.err  # nothing is computed for nothing
        assert config(run_dir)["trained"] == {"steps": 2, "epochs": 1.0}
        (run_dir / "config.json").write_bytes(before[run_dir / "config.json"])
        assert before == {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize("earlier", [False, True])
def test_more_steps_than_the_schedule_has_are_refused(run_dir, again, capsys, earlier):
    if earlier:
        as_of_an_earlier_version(run_dir)
    before = digests(run_dir)
    for options, flag in (
        ({"epochs": 3}, "--epochs=3: 6 steps"),
        ({"epochs": None, "max_steps": 3}, "--max_steps=3: 3 steps"),
        ({"epochs": 1, "max_steps": 4}, "--max_steps=4: 4 steps"),
    ):
        assert again(**options) == 2
        error = one_error(capsys)
        assert error.startswith(f"error: {flag} are more than the schedule of {run_dir} has: its")
        assert "decays to 0 over 2 steps (1 epochs). Give --extend_schedule to go on" in error
        assert f"or --init_run={run_dir} and another --run_dir" in error
    assert digests(run_dir) == before
    assert again() == 0
    assert config(run_dir)["schedule"] == {"steps": 2, "extensions": []}


def test_a_run_that_is_trained_longer_than_asked_for_says_so(run_dir, again, capsys):
    assert again(epochs=None, max_steps=1) == 0
    line = f"{run_dir} is finished: 2 steps are done, more than the 1 that were asked for"
    assert capsys.readouterr().out.splitlines()[0] == line


def test_an_extension_goes_on_and_config_says_so(run_dir, again, capsys, opened):
    assert again("--extend_schedule", epochs=3) == 0
    assert opened[-1].plan == (6, 6)
    kept = config(run_dir)
    assert kept["schedule"] == {"steps": 6, "extensions": [{"from": 2, "to": 6, "at": 2}]}
    assert kept["training"]["epochs"] == 3 and kept["trained"] == {"steps": 2, "epochs": 1.0}
    # Killed at once, the same command goes on, and so does the one without the flag.
    for args in (("--extend_schedule",), ()):
        assert again(*args, epochs=3) == 0
        assert opened[-1].plan == (6, 6)
        assert config(run_dir) == kept
    capsys.readouterr()
    assert again(epochs=2) == 0
    assert opened[-1].plan == (4, 6)
    assert "stopping at step 4 of the 6 of the run's schedule" in capsys.readouterr().out
    assert config(run_dir)["training"]["epochs"] == 2
    assert again(epochs=1) == 0  # fewer than are done
    assert "is finished: 2 of 2 steps are done" in capsys.readouterr().out
    assert again(epochs=None) == 0  # without a flag the run's own schedule is trained to its end
    assert opened[-1].plan == (6, 6)


def test_the_learning_rate_follows_the_schedule_wherever_training_stops(make_run):
    run = make_run(warmup_steps=0, learning_rate=1.0)
    run.plan = Plan(stop=5, schedule=20)
    assert run.go() == 0
    assert len(run.steps) == 5
    cosine = 0.5 * (1 + np.cos(np.pi * 5 / 20))
    assert float(run.loop.optimizer.learning_rate) == pytest.approx(cosine)


def test_an_early_stop_says_that_the_run_is_finished(run_dir, again, capsys, opened):
    path = next((run_dir / "checkpoints").glob("step-*.npz"))
    arrays, note = weights_file.load(str(path))
    weights_file.save(str(path), arrays, note | {"without_better": 2})
    assert again("--extend_schedule", epochs=3, patience=2) == 0
    assert (
        f"{run_dir} is finished: no better score in 2 epochs (--patience=2) after 2 of 6 steps"
    ) in capsys.readouterr().out
    assert again(epochs=3, patience=3) == 0
    assert opened[-1].plan == (6, 6)


# Other runs' weights.


def test_a_run_begins_with_the_weights_of_another(run_dir, again, tmp_path, opened, capsys):
    new = tmp_path / "new"
    assert again(run_dir=new, init_run=run_dir, epochs=2, precision="bfloat16") == 0
    restored = restore.restore(str(run_dir)).captioner
    for variable, expected in zip(opened[-1].captioner.variables, restored.variables, strict=True):
        np.testing.assert_array_equal(variable, expected)
    kept = config(new)
    assert kept["initial"]["run"] == str(run_dir)
    assert kept["initial"]["step"] == 2
    assert kept["initial"]["weights"] == restore.digest(str(run_dir))
    assert kept["schedule"]["steps"] == 4 and kept["trained"]["steps"] == 0
    assert json.loads((new / "init_records.json").read_text()) == [
        json.loads((run_dir / "records.json").read_text())
    ]
    # The same command again resumes, with and without the flag; another one is refused.
    for init_run in (run_dir, f"{run_dir}/", None):
        assert again(run_dir=new, init_run=init_run, epochs=2, precision="bfloat16") == 0
        assert config(new) == kept
    assert again(init_run=new) == 2
    assert f"{run_dir} began with no weights of another run" in one_error(capsys)
    assert len(provenance.read_all(RunFolder(str(new)))) == 2
    # A third run counts the images of all.
    shutil.copytree(run_dir / "checkpoints", new / "checkpoints")
    capsys.readouterr()
    assert again(run_dir=new, init_run=tmp_path, epochs=2, precision="bfloat16") == 2
    assert f"{new} began with the weights of {run_dir}; give another" in one_error(capsys)
    best = str(new / "checkpoints" / "best.npz")
    arrays, note = weights_file.load(best)
    weights_file.save(best, arrays, weights_file.owned(note, kept["id"]))
    assert again(run_dir=tmp_path / "third", init_run=new) == 0
    assert len(provenance.read_all(RunFolder(str(tmp_path / "third")))) == 3


def test_the_encoder_of_a_run_may_be_trained_on(run_dir, again, tmp_path, opened):
    assert again("--encoder_trainable", run_dir=tmp_path / "new", init_run=run_dir) == 0
    expected = restore.restore(str(run_dir)).captioner.encoder.fingerprint()
    assert opened[-1].captioner.encoder.fingerprint() == expected
    assert opened[-1].captioner.encoder.trainable


def test_images_of_both_runs_count_as_trained_on(run_dir, tmp_path, opened, capsys, again):
    new = tmp_path / "new"
    assert again(run_dir=new, init_run=run_dir) == 0
    # As if the new run were trained on other images.
    info = provenance.read(RunFolder(str(run_dir)))
    other = dataclasses.replace(info, splits=info.splits | {"train": info.splits["val"]})
    kept = RunConfig.read(RunFolder(str(new)))
    records = provenance.write(RunFolder(str(new)), other)
    data = dataclasses.replace(kept.data, records_fingerprint=records)
    dataclasses.replace(kept, data=data).write(RunFolder(str(new)))
    for split in ("train", "val"):
        with pytest.raises(UserError, match=r"images of .* were trained on"):
            provenance.refuse_contamination(RunFolder(str(new)), info, split, False)
    (new / "init_records.json").unlink()
    with pytest.raises(UserError, match="CONTAMINATION UNKNOWN"):
        provenance.refuse_contamination(RunFolder(str(new)), info, "test", False)


def test_flags_of_the_model_are_those_of_the_initial_run(run_dir, again, tmp_path, opened):
    shapes = ("encoder", "encoder_weights", "rnn_units", "embedding_dim", "attention_units")
    nothing = dict.fromkeys((*shapes, "feature_projection"))
    new = tmp_path / "new"
    assert again(run_dir=new, init_run=run_dir, **nothing) == 0
    assert config(new)["model"] == config(run_dir)["model"]
    kept = config(new)
    assert again(run_dir=new, **nothing) == 0  # No checkpoint yet: the weights are taken again.
    assert config(new) == kept
    # Resumed from a checkpoint, it needs neither the flags nor the run that it began with.
    trained = next((run_dir / "checkpoints").glob("step-*.npz"))
    arrays, note = weights_file.load(str(trained))
    (new / "checkpoints").mkdir()
    path = str(new / "checkpoints" / trained.name)
    weights_file.save(path, arrays, weights_file.owned(note, kept["id"]))
    shutil.move(run_dir, tmp_path / "elsewhere")
    assert again(run_dir=new, **nothing) == 0
    assert config(new)["model"] == kept["model"]


def test_a_run_begins_with_another_vocabulary(
    run_dir, again, tmp_path, opened, capsys, four_records
):
    new = tmp_path / "new"
    assert again(run_dir=new, init_run=run_dir, records_dir=four_records, batch_size=2) == 0
    old, words = (read_vocabulary(str(folder)).words for folder in (run_dir, four_records))
    known = len({*old[4:]} & {*words[4:]})
    assert 0 < known < len(words) - 4
    line = f"{known} of {len(words) - 4} words are known to {run_dir}; the others begin as in a new"
    assert line in capsys.readouterr().out
    before = restore.restore(str(run_dir)).captioner.decoder
    decoder = opened[-1].captioner.decoder
    np.testing.assert_array_equal(decoder.embedding[words.index("a")], before.embedding[4])
    np.testing.assert_array_equal(decoder.lstm_bias, before.lstm_bias)
    kept = config(new)
    assert kept["model"]["decoder"]["vocabulary_size"] == len(words)
    assert again(run_dir=new, init_run=run_dir, records_dir=four_records, batch_size=2) == 0
    assert config(new) == kept


def test_a_run_begins_with_another_encoder(run_dir, again, tmp_path, opened, capsys):
    other = {"encoder": "mobilenet_v2", "run_dir": tmp_path / "new"}
    assert again(init_run=run_dir, **other) == 0
    assert (
        f"--init_run={run_dir}: its encoder is small_cnn and not mobilenet_v2: the projection of"
        " features begins anew, and all behind it is kept\n"
    ) in capsys.readouterr().out
    before, now = restore.restore(str(run_dir)).captioner, opened[-1].captioner
    assert now.decoder.projection.kernel.shape == (1280, 16)
    np.testing.assert_array_equal(now.decoder.projection.bias, np.zeros(16))
    for variable in before.decoder.variables:
        if "projection" not in variable.path:
            same = next(v for v in now.decoder.variables if v.path == variable.path)
            np.testing.assert_array_equal(same, variable, err_msg=variable.path)
    # Without a projection the attention reads the features of one encoder alone.
    bare = tmp_path / "bare"
    assert again(run_dir=bare, feature_projection=0) == 0
    shutil.copytree(run_dir / "checkpoints", bare / "checkpoints")
    assert again(init_run=bare, **other | {"feature_projection": 0}, seed=2) == 2
    assert one_error(capsys) == (
        f"error: --encoder=mobilenet_v2: --init_run={bare} was trained with --encoder=small_cnn and"
        " --feature_projection=0, so its attention reads the features of that encoder alone; give"
        " that encoder, or a run with a projection"
    )


def test_weights_that_do_not_fit_are_refused(run_dir, again, tmp_path, capsys):
    new = tmp_path / "new"
    assert again(run_dir=new, init_run=tmp_path / "none") == 1
    assert "none: no run here" in one_error(capsys)
    others = {"rnn_units": 25, "image_as": "context"}
    assert again(run_dir=new, init_run=run_dir, **others) == 2
    assert one_error(capsys) == (
        f"error: --rnn_units=25 --image_as=context: --init_run={run_dir} was trained with"
        " --rnn_units=24 --image_as=init_state, and its weights fit no other model; leave"
        " --rnn_units and --image_as out"
    )
    (run_dir / "records.json").rename(tmp_path / "records.json")
    assert again(run_dir=new, init_run=run_dir) == 1
    assert f"{run_dir}/records.json is missing" in one_error(capsys)
    (tmp_path / "records.json").rename(run_dir / "records.json")
    (run_dir / "checkpoints" / "best.npz").unlink()
    assert again(run_dir=new, init_run=run_dir) == 1
    assert "no trained weights yet" in one_error(capsys)
    assert not new.exists()


def test_a_kill_while_a_run_is_started_is_made_up_for(
    run_dir, again, tmp_path, opened, monkeypatch
):
    class KilledError(BaseException):
        pass

    written, create = [], atomic_file.create

    @contextlib.contextmanager
    def killed(path):
        if len(written) == writes:
            raise KilledError
        written.append(path)
        with create(path) as file:
            yield file

    undisturbed = tmp_path / "undisturbed"
    assert again(run_dir=undisturbed, init_run=run_dir) == 0
    names = sorted(path.name for path in undisturbed.iterdir())
    for writes in range(5):
        new = tmp_path / f"killed-after-{writes}"
        written.clear()
        with monkeypatch.context() as patch, pytest.raises(KilledError):
            patch.setattr(atomic_file, "create", killed)
            again(run_dir=new, init_run=run_dir)
        assert len(written) == writes
        assert again(run_dir=new, init_run=run_dir) == 0
        assert config(new)["initial"]["run"] == str(run_dir)
        assert sorted(path.name for path in new.iterdir()) == names


# The first images alone.


def test_a_run_on_the_first_images(again, tmp_path, opened, capsys, scenes_records):
    records, run_dir = tmp_path / "records", tmp_path / "first"
    shutil.copytree(scenes_records, records)
    for path in records.glob("train-00002-of-00003.tfrecord*"):  # 16 of the 48 images
        path.unlink()
    begin = functools.partial(again, records_dir=records, run_dir=run_dir, batch_size=5)
    assert begin() == 1
    assert "found no such file" in one_error(capsys)
    assert begin(max_train_images=21, epochs=2) == 0
    assert "training on the first 21 of 48 images\n" in capsys.readouterr().out
    assert opened[-1].train.records == 21 and opened[-1].plan == (10, 10)
    kept = config(run_dir)
    assert kept["training"]["max_train_images"] == 21 and kept["schedule"]["steps"] == 10
    # Evaluation counts these images only, and so does a run that begins with the weights.
    folder, info = RunFolder(str(run_dir)), provenance.read(RunFolder(str(run_dir)))
    assert provenance.read_all(folder) == [provenance.TrainedOn(info, 21)]
    with pytest.raises(UserError, match="21 of 48 images of train were trained on"):
        provenance.refuse_contamination(folder, info, "train", False)


def test_more_images_than_there_are_is_all_of_them(run_dir, again, tmp_path, opened, capsys):
    assert again(run_dir=tmp_path / "new", max_train_images=49) == 0
    line = "--max_train_images=49: the training split has 48 images: all are taken\n"
    assert line in capsys.readouterr().out
    assert opened[-1].train.records == 48 and opened[-1].plan == (2, 2)
    assert again(max_train_images=-1) == 2
    assert "max_train_images" in one_error(capsys)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_run_does_not_go_on_with_another_number_of_images(
    run_dir, again, scenes_records, capsys, earlier
):
    if earlier:
        as_of_an_earlier_version(run_dir)
        content = config(run_dir)
        del content["training"]["max_train_images"]
        (run_dir / "config.json").write_text(json.dumps(content))
    before = digests(run_dir)
    assert again(max_train_images=20) == 2
    message = "--max_train_images=20 contradicts the run, trained with --max_train_images=0"
    assert message in one_error(capsys)
    assert run_evaluate(run_dir=run_dir, records_dir=scenes_records, max_train_images=20) == 2
    assert message in one_error(capsys)
    assert digests(run_dir) == before
    assert again() == 0


def test_the_first_images_of_other_shards_are_others(tmp_path, scenes_data, scenes_records):
    """The same images in another order: a run on all of them goes on, one on the first does not."""
    other = tmp_path / "other"
    build_scenes(scenes_data, other, train_shards=2)
    before, now = read_info(str(scenes_records)), read_info(str(other))
    require_same_records("other", now, "run", provenance.TrainedOn(before, 0))
    require_same_records("same", before, "run", provenance.TrainedOn(before, 10))
    with pytest.raises(UserError, match=r"^other: its first 10 training images .*2 shards, 3 befo"):
        require_same_records("other", now, "run", provenance.TrainedOn(before, 10))
    # Nor do workers train together that would take other images.
    fingerprints = [
        main._fingerprint(training_config(max_train_images=n), info, Vocabulary((), ()))
        for n in (0, 10)
        for info in (before, now)
    ]
    assert fingerprints[0] == fingerprints[1] and len(set(fingerprints)) == 3


def test_first_images_are_kept_from_run_to_run(run_dir, again, tmp_path, opened):
    """Of three runs that begin with each other's weights, each trained on another number."""
    second, third = tmp_path / "second", tmp_path / "third"
    assert again(run_dir=second, init_run=run_dir, max_train_images=10) == 0
    assert config(second)["initial"]["max_train_images"] == [0]
    shutil.copytree(run_dir / "checkpoints", second / "checkpoints")
    best = str(second / "checkpoints" / "best.npz")
    arrays, note = weights_file.load(best)
    weights_file.save(best, arrays, weights_file.owned(note, config(second)["id"]))
    assert again(run_dir=third, init_run=second, max_train_images=20) == 0
    trained_on = provenance.read_all(RunFolder(str(third)))
    assert [images.max_images for images in trained_on] == [20, 10, 0]
    # Earlier versions trained on all images, and kept no numbers.
    kept = RunConfig.read(RunFolder(str(third)))
    content = config(third)
    del content["initial"]["max_train_images"], content["checksum"]
    (third / "config.json").write_text(json.dumps(content))
    trained_on = provenance.read_all(RunFolder(str(third)))
    assert [images.max_images for images in trained_on] == [20, 0, 0]
    kept.write(RunFolder(str(third)))
    assert again(run_dir=third, max_train_images=20) == 0  # it goes on


# What a run keeps is its own.


def other_weights(path, run="0123456789abcdef") -> None:
    """Put the weights of another run into a file; without `run`, of an earlier version's."""
    arrays, note = weights_file.load(str(path))
    arrays = {name: array + 1 for name, array in arrays.items()}
    note = {name: value for name, value in note.items() if name != "run"}
    weights_file.save(str(path), arrays, note | ({"run": run} if run else {}))


def sort_vocabulary(path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], *sorted(lines[4:])]))


def other_sizes(path) -> None:
    arrays, note = weights_file.load(str(path))
    arrays = {name: np.concatenate([array, array]) for name, array in arrays.items()}
    weights_file.save(str(path), arrays, note)


def edit_config(path) -> None:
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))


BEST, STEP = "checkpoints/best.npz", "checkpoints/step-000000002.npz"


@pytest.mark.parametrize(
    ("name", "change", "message", "evaluated"),
    [
        ("vocabulary.tsv", sort_vocabulary, "not the vocabulary that the run was started", True),
        ("encoder.npz", other_weights, "not the encoder's weights that the run was started", True),
        ("encoder.npz", os.remove, "is missing", True),
        (BEST, other_weights, "holds weights of another run", True),
        (BEST, lambda path: other_weights(path, ""), "holds weights of another run", True),
        (STEP, other_weights, "holds weights of another run", False),
        ("config.json", edit_config, "was edited since a training wrote it", True),
        ("records.json", os.remove, "is missing: it says which images and captions", False),
    ],
)
def test_a_file_that_is_not_the_runs_own_is_refused(
    run_dir, again, scenes_records, capsys, opened, name, change, message, evaluated
):
    change(run_dir / name)
    before = digests(run_dir)
    assert again() == 1
    error = one_error(capsys)
    assert f"{run_dir / name}" in error and message in error
    if evaluated:
        assert run_evaluate(run_dir=run_dir, records_dir=scenes_records) == 1
        error = one_error(capsys)
        assert f"{run_dir / name}" in error and message in error
    assert opened == []
    shutil.rmtree(run_dir / "evaluation", ignore_errors=True)
    assert digests(run_dir) == before


def test_weights_of_another_size_name_their_file(run_dir, scenes_records, capsys):
    other_sizes(run_dir / BEST)
    assert run_evaluate(run_dir=run_dir, records_dir=scenes_records) == 1
    assert f"{run_dir / BEST}: not the weights of this model: " in one_error(capsys)


def test_a_vocabulary_of_the_records_that_was_sorted_is_refused(
    run_dir, again, scenes_records, tmp_path, capsys
):
    records = shutil.copytree(scenes_records, tmp_path / "records")
    sort_vocabulary(records / "vocabulary.tsv")
    assert again(records_dir=records) == 1
    assert f"{records}/vocabulary.tsv: not the file that dataset_info.json" in one_error(capsys)
    assert run_evaluate(run_dir=run_dir, records_dir=records) == 1
    assert f"{records}/vocabulary.tsv: not the file that dataset_info.json" in one_error(capsys)


def test_edited_captions_are_noticed_and_new_shards_told(tmp_path, opened, capsys):
    def built(change=None, **flags):
        folder = CocoFolder(tmp_path / f"coco-{len(os.listdir(tmp_path))}")
        if change:
            change(folder)
            folder.write()
        out = folder.path / "records"
        build_coco(folder, out, **flags)
        capsys.readouterr()
        return out

    def swap(folder):  # the same words as often as before, and so the same vocabulary
        captions = folder.captions["train"]
        folder.add("train", 50, jpeg(50), ["a dog runs"] * 5)
        captions[-1]["caption"] = "a red ball here"

    def swap_again(folder):
        captions = folder.captions["train"]
        folder.add("train", 50, jpeg(50), ["a dog runs"] * 5)
        captions[0]["caption"], captions[-1]["caption"] = "a red ball here", "a dog runs"

    def reorder(folder):
        folder.captions["train"].reverse()

    def edit_validation(folder):
        folder.captions["val"][0]["caption"] = "it is a ball"

    run = {"run_dir": tmp_path / "run", "batch_size": 4, "epochs": 1}
    assert train(records_dir=built(swap), **run) == 0
    edited = built(swap_again)
    assert train(records_dir=edited, **run) == 1
    error = one_error(capsys)
    assert f"{edited}: its training captions are not those that {run['run_dir']} is" in error
    assert "they were edited" in error

    run["run_dir"] = tmp_path / "other"
    assert train(records_dir=built(), **run) == 0
    capsys.readouterr()
    for records, message in (
        (built(), None),
        (built(reorder), "but the images are stored otherwise"),
        (built(train_shards=3), "but they lie in another order (3 shards, 2 before)"),
        (built(edit_validation), "scores from here on cannot be compared"),
    ):
        assert train(records_dir=records, **run) == 0
        warnings = [line for line in capsys.readouterr().err.splitlines() if "warning: " in line]
        assert len(warnings) == (message is not None)
        assert all(message in line for line in warnings)
    assert train(records_dir=built(captions_per_record=1), **run) == 1
    assert "it was built with another --captions_per_record" in one_error(capsys)


# One trainer, one evaluation at a time.


def test_a_second_trainer_is_refused(run_dir, again, capsys):
    before = digests(run_dir)
    with process_lock.only_process(str(run_dir), "training", ""):
        assert again(epochs=2) == 1
    assert one_error(capsys) == (
        f"error: {run_dir}: process {os.getpid()} on {socket.gethostname()} is training there; wait"
        " until it has ended, stop it, or give another --run_dir"
    )
    assert digests(run_dir) == before


def test_the_other_workers_of_a_cluster_take_no_lock(run_dir, again, monkeypatch, capsys):
    hosts = ["127.0.0.1:1", "127.0.0.1:2"]
    with process_lock.only_process(str(run_dir), "training", ""):
        for index, code in ((0, 1), (1, 2)):
            task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            monkeypatch.setenv("TF_CONFIG", json.dumps(task))
            monkeypatch.setattr("trainer.distribution.join", lambda *_: pytest.exit("it is past"))
            if code == 1:
                assert again() == 1
                assert "is training there" in one_error(capsys)
            else:
                with pytest.raises(pytest.exit.Exception, match="it is past"):
                    again()


@pytest.mark.usefixtures("without_meteor", "kept_replicas")
def test_a_second_evaluation_of_one_folder_is_refused(run_dir, scenes_records, capsys):
    same = {"run_dir": run_dir, "records_dir": scenes_records}
    folder = run_dir / "evaluation" / "val"
    with process_lock.only_process(str(folder), "evaluating", ""):
        for shard in ("1/1", "1/2"):
            assert run_evaluate(**same, shard=shard) == 1
            assert f"{folder}: process {os.getpid()} on " in one_error(capsys)
    with process_lock.only_process(str(folder), "evaluating", "", shared=True):  # another shard
        assert run_evaluate(**same, shard="1/2") == 0
        assert run_evaluate(**same) == 1
    assert run_evaluate(**same) == 0
    assert (folder / "metrics.json").exists()
