"""Ablations: which runs there are, what is kept of them, and the table."""

import json
import signal
import sys
from pathlib import Path

import pytest

from artifacts import weights_file
from benchmarks.ablations import __main__ as ablations
from benchmarks.ablations import table
from benchmarks.ablations.choices import CHOICES, RECIPE
from benchmarks.ablations.table import Result, difference
from benchmarks.recipes import steps, work
from benchmarks.recipes.plan import BUILD, EVALUATE, TRAIN
from cli.errors import UserError
from tests.support.commands import ROOT

FLAGFILE = """# A recipe.
#
#   python -m pipeline.build_records --runner=DirectRunner --dataset=flickr8k
#   python -m trainer.main --flagfile=flags/x.flags
#   python -m evaluation.main --flagfile=flags/x.flags --split=val
--records_dir=data/records/flickr8k
--run_dir=runs/x
--encoder=mobilenet_v2
--precision=auto
--epochs=10
--dropout=0.3
"""


@pytest.fixture
def commands(tmp_path, monkeypatch) -> list[list[str]]:
    """Record the commands, and leave what each would leave; "constant rate" fails until mended."""
    started: list[list[str]] = []

    def execute(command, handle, tick=lambda core_seconds: None):
        started.append(list(command))
        flags = dict(part.removeprefix("--").split("=", 1) for part in command[1:] if "=" in part)
        tick(1800.0)
        if command[0] == BUILD:
            return
        run = Path(flags["run_dir"])
        if command[0] == TRAIN:
            if "constant" in run.name and not (tmp_path / "mended").exists():
                raise UserError("trainer.main failed")
            best = run / "checkpoints" / "best.npz"
            best.parent.mkdir(parents=True)
            weights_file.save(str(best), {}, {"epoch": 3})
            return
        ciders = {str(image): 0.4 + 0.01 * image for image in range(10)}
        if "ema_decay" in flags:
            ciders = {image: cider + 0.02 for image, cider in ciders.items()}
        cider = sum(ciders.values()) / len(ciders)
        folder = run / "evaluation" / "val"
        folder.mkdir(parents=True)
        metrics = {
            "metrics": {"Bleu_4": 0.2, "METEOR": 0.19, "CIDEr": cider},
            "attention": {"entropy": 3.6, "temporal_variance": 0.01},
            "diversity": {"bad_endings": 0.02},
        }
        (folder / "metrics.json").write_text(json.dumps(metrics))
        images = {image: {"CIDEr": value} for image, value in ciders.items()}
        (folder / "images.json").write_text(json.dumps({"images": images}))

    monkeypatch.setattr(steps, "execute", execute)
    monkeypatch.setattr(work, "execute", execute)
    return started


@pytest.fixture
def ablate(tmp_path, monkeypatch):
    """A function that runs the command with flags and returns the exit code."""
    (tmp_path / "x.flags").write_text(FLAGFILE)
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    places = (
        *(f"--recipe={tmp_path}/x.flags", f"--work_dir={tmp_path}/work"),
        *(f"--data_dir={tmp_path}/data", "--encoder_weights=random"),
    )

    def run(*flags: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ablations", *places, *flags])
        with pytest.raises(SystemExit) as ended:
            ablations.main()
        return int(ended.value.code or 0)

    return run


def test_every_run_is_trained_and_evaluated_once(ablate, commands, tmp_path, capsys):
    flags = ("--choices=average 0.999,constant rate", "--seeds=1,2", "--epochs=3")
    assert ablate(*flags) == 1
    captured = capsys.readouterr()
    assert "error: constant rate, seed 1: trainer.main failed" in captured.err
    assert "error: 2 of 6 runs failed" in captured.err
    trained = [command for command in commands if command[0] == TRAIN]
    assert len(trained) == 6
    names = ["x-epochs3-seed1", "x-epochs3-seed1-average-0.999"]
    for name, command in zip(names, trained, strict=False):
        assert f"--run_dir={tmp_path}/work/runs/{name}" in command
        assert {"--epochs=3", "--seed=1"} <= set(command)
        assert ("--ema_decay=0.999" in command) == ("average" in name)
    evaluated = [command for command in commands if command[0] == EVALUATE]
    assert len(evaluated) == 4
    assert "--ema_decay=0.999" in evaluated[1]  # or it would contradict the run
    text = (tmp_path / "work" / "ablations.md").read_text()
    assert text in captured.out
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[2].startswith("| x |  | 2 |")
    assert rows[3].startswith("| average 0.999 | `--ema_decay=0.999` | 2 | 20.0 (20.0 to 20.0)")
    assert "| +2.0 (+2.0 to +2.0) | < 0.001 | 2.0% | 3.60 | 0.010 | 3 |" in rows[3]
    assert len(rows) == 4

    commands.clear()
    (tmp_path / "mended").touch()
    assert ablate(*flags) == 0
    assert [command[0] for command in commands] == [BUILD, TRAIN, EVALUATE] * 2
    assert all("constant" in " ".join(command) for command in commands if command[0] != BUILD)
    assert "| constant rate |" in (tmp_path / "work" / "ablations.md").read_text()


def test_records_that_are_there_are_not_built(ablate, commands, tmp_path):
    (tmp_path / "records").mkdir()
    flags = ("--choices=recipe", "--seeds=7", f"--records_dir={tmp_path}/records")
    assert ablate(*flags) == 0
    assert [command[0] for command in commands] == [TRAIN, EVALUATE]
    assert f"--records_dir={tmp_path}/records" in commands[0]


def test_what_the_recipe_has_already_is_left_out(ablate, commands, capsys):
    assert ablate("--choices=dropout 0.3,dropout 0.5,no average", "--seeds=1") == 0
    out = capsys.readouterr().out
    assert "dropout 0.3 is left out: here it is the same as recipe" in out
    assert "no average is left out" in out
    assert len([command for command in commands if command[0] == TRAIN]) == 2


def test_every_choice_is_a_recipe():
    recipes = [ablations._recipe("flickr8k", flags) for flags in CHOICES.values()]
    assert len(set(recipes)) > len(CHOICES) / 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--choices=averages", "'averages' is none of recipe, no average"),
        ("--seeds=1,1", "--seeds=1,1: expected different numbers"),
        ("--seeds=", "--seeds=: expected different numbers"),
        ("--records_dir=/none", "--records_dir=/none: no such folder"),
        ("--recipe=nothing", "flags/nothing.flags: no such flagfile"),
    ],
)
def test_wrong_usage_is_one_line(ablate, commands, flags, message, capsys):
    assert ablate(flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not commands


def some_result(offset: float, hours: float | None = 0.5) -> Result:
    ciders = {str(image): offset + image % 7 / 10 for image in range(200)}
    metrics = {"Bleu_4": 0.2, "METEOR": 0.19, "CIDEr": offset + 0.3}
    return Result(metrics, ciders, None, None, 0.0, 9, hours, hours, "CPU: x")


def test_a_difference_holds_the_noise_of_seeds_and_images():
    recipe = {1: some_result(0.50), 2: some_result(0.50)}
    same_gain = difference({1: some_result(0.52), 2: some_result(0.52)}, recipe)
    assert same_gain.mean == pytest.approx(0.02)
    assert same_gain.p == 0
    by_luck = difference({1: some_result(0.57), 2: some_result(0.47)}, recipe)
    assert by_luck.mean == pytest.approx(0.02)
    assert by_luck.low < 0 < by_luck.high
    assert by_luck.p > 0.2
    assert difference({3: some_result(0.5)}, recipe) is None
    assert difference({2: some_result(0.5)}, recipe).mean == pytest.approx(0)


def test_what_is_not_known_is_a_dash():
    results = {RECIPE: {1: some_result(0.5, None)}, "no gate": {}}
    text = table.markdown(results, CHOICES, "x")
    assert text.splitlines()[2].endswith("| 0.0% | - | - | 9 | - | - |")
    assert "no gate" not in text
