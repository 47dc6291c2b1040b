"""Averages of weights: a run as any other, or one line that says why not."""

import numpy as np
import pytest

from artifacts import provenance, restore, weights_file
from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from tests.support.commands import one_error, run_command
from tests.support.four import FOUR_FLAGS
from tests.support.training import train
from trainer import soup


def test_checkpoints_of_a_run_are_averaged_to_a_run(four_run, tmp_path, capsys):
    checkpoints = sorted(map(str, (four_run / "checkpoints").glob("step-*.npz")))
    new = tmp_path / "runs" / "soup"
    assert run_command(soup, runs=",".join(checkpoints), run_dir=f"{new}/") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{new}: the average of 3 weights; evaluate it as any run\n"
    assert captured.err == ""
    loaded = [weights_file.load(path)[0] for path in checkpoints]
    restored = restore.restore(str(new))
    for variable in restored.captioner.trainable_variables:
        expected = np.mean([arrays[variable.path] for arrays in loaded], 0)
        np.testing.assert_allclose(variable, expected, atol=1e-6, err_msg=variable.path)
    assert restored.note["epoch"] == 3
    assert restored.note["step"] == 150
    assert restored.note["soup"] == checkpoints
    before, after = RunConfig.read(RunFolder(str(four_run))), restored.config
    assert (after.model, after.search) == (before.model, before.search)
    assert after.id != before.id
    trained_on = provenance.read_all(RunFolder(str(new)))
    assert len(trained_on) == 4
    assert {images.info.to_bytes() for images in trained_on} == {trained_on[0].info.to_bytes()}
    words = [restore.read_vocabulary(str(path)).fingerprint for path in (new, four_run)]
    assert words[0] == words[1]


@pytest.mark.usefixtures("idle_steps")
def test_runs_that_began_with_the_same_weights_and_runs_that_did_not(
    four_run, four_records, tmp_path, capsys
):
    child, stranger = tmp_path / "child", tmp_path / "stranger"
    same = {**FOUR_FLAGS, "records_dir": four_records, "epochs": 1}
    assert train(**same, run_dir=child, init_run=four_run) == 0
    assert train(**same, run_dir=stranger, seed=3) == 0
    capsys.readouterr()
    assert run_command(soup, runs=f"{four_run},{child}", run_dir=tmp_path / "soup") == 0
    assert capsys.readouterr().err == ""
    expected, arrays = (
        weights_file.load(RunFolder(str(path)).best)[0] for path in (four_run, tmp_path / "soup")
    )
    for name in expected:  # Idle steps change no weight.
        np.testing.assert_allclose(arrays[name], expected[name], atol=1e-6, err_msg=name)
    assert run_command(soup, runs=f"{child},{stranger}", run_dir=tmp_path / "other") == 0
    assert "did not begin with the same weights" in one_line(capsys.readouterr().err)
    # A soup is what a new run can begin with, and no run that is resumed.
    assert train(**same, run_dir=tmp_path / "soup") == 1
    assert "no checkpoint to resume from" in one_error(capsys)
    assert train(**same, run_dir=tmp_path / "next", init_run=tmp_path / "soup") == 0


def one_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


@pytest.mark.usefixtures("idle_steps")
def test_what_cannot_be_averaged_is_one_line_and_leaves_nothing(
    four_run, scenes_records, tmp_path, capsys
):
    new, other = tmp_path / "soup", tmp_path / "other"
    assert train(records_dir=scenes_records, run_dir=other, epochs=1) == 0
    capsys.readouterr()
    cases = [
        ({"runs": four_run}, 2, "expected two or more, each of them once"),
        ({"runs": f"{four_run},{four_run}/"}, 2, "expected two or more, each of them once"),
        ({"runs": f"{four_run},{tmp_path}/none"}, 1, f"{tmp_path}/none: no run here"),
        ({"runs": f"{four_run},{four_run}/checkpoints/step-7.npz"}, 1, "no such file of weights"),
        ({"runs": f"{four_run},{other}"}, 1, f"{other}/checkpoints/best.npz: not of the model of"),
        ({"runs": ""}, 2, "--runs is missing"),
    ]
    for flags, code, message in cases:
        assert run_command(soup, run_dir=new, **flags) == code, message
        assert message in one_error(capsys)
    assert run_command(soup, runs=f"{four_run},{other}", run_dir=other) == 1
    assert "is there already; give another" in one_error(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]
