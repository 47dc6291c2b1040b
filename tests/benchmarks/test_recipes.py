"""Recipes side by side: their headers, what is done already, kills, and the tables."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from artifacts.run_folder import RunFolder
from benchmarks.recipes import __main__ as recipes
from benchmarks.recipes import header, table
from benchmarks.recipes.plan import BUILD, EVALUATE, TRAIN, Setting, all_recipes, plan
from benchmarks.recipes.steps import Steps, StoppedError, checksum, execute, locked
from cli.errors import UserError
from tests.support.commands import ROOT, users_environment

HEADER = r"""# A recipe, whose `python -m` commands are:
#
#   python -m pipeline.build_records --runner=DirectRunner --dataset=coco2017 \
#       --data_dir='my data' --max_vocabulary=5000 --max_caption_words=16
#   python -m trainer.main --flagfile=flags/x.flags --max_train_images=30
#   make demo
#   python -m evaluation.main --flagfile=flags/x.flags --split=test --beam_size=1
--epochs=30
#   python -m trainer.main --late
--batch_size=64
"""
SETTING = Setting("/data/flickr8k", "/weights.h5", Path("work"))


@pytest.fixture
def flagfile(tmp_path) -> str:
    path = tmp_path / "x.flags"
    path.write_text(HEADER)
    return str(path)


def test_the_commands_of_a_header(flagfile):
    assert header.commands(flagfile) == [
        [
            *(BUILD, "--runner=DirectRunner", "--dataset=coco2017", "--data_dir=my data"),
            *("--max_vocabulary=5000", "--max_caption_words=16"),
        ],
        [TRAIN, "--flagfile=flags/x.flags", "--max_train_images=30"],
        [EVALUATE, "--flagfile=flags/x.flags", "--split=test", "--beam_size=1"],
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("#   python -m trainer.main 'x", "line 1: no shell takes this command: No closing quot"),
        ("#   python -m trainer.main --a \\\n--b=1", "line 1: the command ends in a backslash"),
        ("# nothing", "its header has no line `#   python -m trainer.main ...`"),
    ],
)
def test_a_wrong_header_is_one_line(tmp_path, line, message):
    (tmp_path / "x.flags").write_text(line)
    with pytest.raises(UserError, match=r"x\.flags") as error:
        header.arguments(tmp_path / "x.flags", TRAIN)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_only_data_encoder_and_places_are_replaced(flagfile):
    planned = plan(flagfile, SETTING)
    records = "work/records/flickr8k-max_caption_words-16-max_vocabulary-5000"
    replaced = [
        *(f"--flagfile={flagfile}", f"--records_dir={records}", "--run_dir=work/runs/x"),
        *("--encoder=mobilenet_v2", "--encoder_weights=/weights.h5"),
    ]
    assert planned.build == [
        *(BUILD, "--runner=DirectRunner", "--dataset=flickr8k", "--data_dir=/data/flickr8k"),
        *(f"--output_dir={records}", "--features=mobilenet_v2", "--encoder_weights=/weights.h5"),
        *("--max_caption_words=16", "--max_vocabulary=5000"),
    ]
    assert planned.train == [TRAIN, *replaced, "--max_train_images=30"]
    assert planned.evaluate == [EVALUATE, *replaced, "--split=val", "--beam_size=1"]
    assert planned.epochs == 30
    assert not planned.at_home


def test_flags_that_have_the_default_share_the_records(tmp_path):
    text = HEADER.replace("--max_vocabulary=5000", "--min_word_count=5")
    (tmp_path / "y.flags").write_text(text)
    planned = plan(str(tmp_path / "y.flags"), SETTING)
    assert planned.records == Path("work/records/flickr8k-max_caption_words-16")


def test_recipes_that_differ_in_data_and_encoder_alone_are_trained_once(flagfile, tmp_path, capsys):
    changes = {"y": ("coco2017", "coco2014"), "z": ("=64", "=32"), "w": ("=16", "=17")}
    plans = [plan(flagfile, SETTING)]
    for name, (old, new) in changes.items():
        text = HEADER.replace(old, new) + f"--run_dir=runs/{name}\n--encoder=nasnet_large\n"
        (tmp_path / f"{name}.flags").write_text(text)
        plans.append(plan(str(tmp_path / f"{name}.flags"), SETTING))
    assert [one.name for one in recipes._without_twins(plans)] == ["x", "z", "w"]
    assert capsys.readouterr().out == "y is left out: here it is the same as x\n"


def test_another_length_or_seed_is_another_run(flagfile):
    capped = plan(flagfile, Setting("/data", "w", Path("work"), epochs=3, seed=2))
    assert capped.run.path == "work/runs/x-epochs3-seed2"
    for command in (capped.train, capped.evaluate):
        assert {"--epochs=3", "--seed=2"} <= set(command)
    longer = plan(flagfile, Setting("/data", "w", Path("work"), epochs=30))
    assert longer.run.path == "work/runs/x"
    assert "--epochs=30" not in longer.train


def test_the_recipes_of_the_house_can_be_planned(monkeypatch):
    monkeypatch.chdir(ROOT)
    plans = {name: plan(name, SETTING) for name in all_recipes()}
    assert all(planned.epochs > 0 for planned in plans.values())
    assert plans["flickr8k"].at_home
    assert "finetune" not in plans  # It goes on from another run.


@pytest.fixture
def steps(tmp_path):
    with locked(tmp_path / "x.lock") as handle:
        yield Steps(tmp_path / "x.json", handle)


def test_a_step_is_done_while_its_inputs_and_its_product_stay(tmp_path, steps):
    product, inputs = tmp_path / "product", {"command": ["timeit"]}
    product.touch()
    assert not steps.is_done("train", inputs, product)
    steps.run("train", inputs, ["timeit", "-n1", "-r1"])
    again = Steps(steps.path, 0)
    assert again.is_done("train", inputs, product)
    assert not again.is_done("train", {"command": ["timeit", "-n1"]}, product)
    assert not again.is_done("evaluate", inputs, product)
    product.unlink()
    assert not again.is_done("train", inputs, product)


def test_a_failed_step_is_not_done_and_its_time_counts(tmp_path, steps, capfd):
    with pytest.raises(UserError, match=r"timeit failed \(exit code 2\)"):
        steps.run("train", {}, ["timeit", "--no-such-option"])
    seconds = steps.states["train"]["core_seconds"]
    assert not steps.is_done("train", {}, tmp_path)
    steps.run("train", {}, ["timeit", "-n1", "-r1"])
    assert steps.states["train"]["core_seconds"] > seconds > 0
    assert "$ python -m timeit --no-such-option" in capfd.readouterr().out


def test_the_time_of_a_run_that_was_begun_elsewhere_is_not_known(steps):
    steps.run("train", {}, ["timeit", "-n1", "-r1"])
    steps.run("train", {}, ["timeit", "-n1", "-r1"], begun_elsewhere=True)  # By us, and killed.
    assert steps.core_seconds("train") == steps.states["train"]["core_seconds"]
    steps.run("other", {}, ["timeit", "-n1", "-r1"], begun_elsewhere=True)
    steps.run("other", {}, ["timeit", "-n1", "-r1"])
    assert Steps(steps.path, 0).core_seconds("other") is None


def test_a_command_that_was_stopped_stops_the_benchmark(steps):
    with pytest.raises(StoppedError):
        execute(["timeit", "-n1", "-r1", "import os; os._exit(75)"], 0)


_PARENT = """
import sys
from pathlib import Path
from benchmarks.recipes import steps
steps._TICK_SECONDS = 0.1
with steps.locked(Path("x.lock")) as handle:
    work = "import time; open('began', 'w').close(); time.sleep(60)"
    steps.Steps(Path("x.json"), handle).run("train", {}, ["timeit", "-n1", "-r1", work])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_kill_ends_the_command_too_and_keeps_its_time(tmp_path, number):
    environment = users_environment() | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], cwd=tmp_path, env=environment)
    while not ((tmp_path / "x.json").exists() and (tmp_path / "began").exists()):
        assert parent.poll() is None
        time.sleep(0.05)
    killed = time.monotonic()
    parent.send_signal(number)
    assert parent.wait(30) != 0
    with locked(tmp_path / "x.lock") as handle:  # Waits for the command, which holds it too.
        state = Steps(tmp_path / "x.json", handle).states["train"]
    assert time.monotonic() - killed < 30
    assert not state["done"]
    assert 0 < state["core_seconds"] < 50


def row(name: str, **changes) -> dict:
    scores = {"Bleu_4": 0.204, "METEOR": 0.198, "CIDEr": 0.501}
    return {
        "recipe": name,
        "attention": "soft",
        "image_as": "init_state",
        "vocabulary": 2549,
        "parameters": 7_040_000,
        "epochs": 10.0,
        "recipe_epochs": 10,
        "core_seconds": 1440.0,
        "captions_per_second": 208.4,
        "perplexity": 17.23,
        "images": 1000,
        "steps": 3750,
        "search": {"beam_size": 1 if name == "other" else 3},
        "metrics": scores,
        "intervals": {"CIDEr": [0.469, 0.537]},
        "distinct_captions": 0.612,
        "entropy": 2.5,
        "entropy_limit": 3.8918,
        "temporal_variance": 0.0123,
        "machine": "CPU: x, 1 core",
        **changes,
    }


def test_the_tables():
    difference = {"difference": -0.031, "low": -0.05, "high": -0.012, "p": 0.0}
    none = {"attention": "none", "image_as": "first_input", "temporal_variance": None}
    text = table.markdown(
        [
            row("flickr8k"),
            row("other", **none, core_seconds=None, recipe_epochs=30, against_reference=difference),
        ],
        "flickr8k",
        epochs=10,
    )
    assert "| flickr8k | soft | init_state | 2,549 | 7.0 M | 10 | 3,750 | 0.40 | 208 |" in text
    assert "| other | none | first_input | 2,549 | 7.0 M | 10 of 30 | 3,750 | - | 208 |" in text
    assert (
        "| flickr8k | beam 3 | 20.4 | 19.8 | 50.1 (46.9 to 53.7) | reference | - | 61.2% | 17.2 |"
        in text
    )
    assert "| -3.1 (-5.0 to -1.2) | < 0.001 | 61.2% | 17.2 | - | - |" in text
    assert "| other | greedy | 20.4 |" in text
    still = table.markdown([row("x", temporal_variance=3e-17)], "x", 0)
    assert "| 2.50 of 3.89 | 0 |" in still
    assert "1,000 dev photographs" in text
    assert "those of mobilenet_v2, in place of" in text
    assert "more than 10 epochs" in text
    assert "more than" not in table.markdown([row("flickr8k")], "flickr8k", epochs=0)
    assert text.endswith("CPU: x, 1 core.")


def test_figures_come_from_what_a_run_leaves(flagfile, tmp_path):
    planned = plan(flagfile, Setting("/data", "w", tmp_path))
    folder = RunFolder(planned.run.path)
    Path(folder.checkpoints).mkdir(parents=True)
    planned.metrics.parent.mkdir(parents=True)
    note = np.frombuffer(json.dumps({"epoch": 1, "step": 7}).encode(), np.uint8)
    np.savez(folder.best, **{"note.json": note, "a/kernel": np.zeros((3, 4)), "a/bias": [0.0]})
    config = {
        "model": {"decoder": {"vocabulary_size": 9}},
        "trained": {"steps": 14, "epochs": 2},
        "training": {"seed": 1},
    }
    Path(folder.config).write_text(json.dumps(config))
    lines = [
        *({"kind": "train", "step": s, "captions_per_second": s} for s in (5, 7, 14)),
        *({"kind": "val", "step": s, "perplexity": s} for s in (7, 14)),
    ]
    Path(folder.metrics).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    evaluated = {
        "images": 10,
        "search": {"beam_size": 1},
        "metrics": {},
        "intervals": {},
        "diversity": {"distinct_captions": 0.5},
        "attention": {"entropy": 1.0, "entropy_limit": 2.0, "temporal_variance": 0.1},
    }
    planned.metrics.write_text(json.dumps(evaluated))
    figures = table.figures(planned, 60.0, "m")
    assert (figures["attention"], figures["image_as"]) == ("soft", "init_state")
    assert (figures["parameters"], figures["perplexity"]) == (13, 7)
    assert (figures["captions_per_second"], figures["epochs"]) == (7, 2)
    config["model"]["decoder"] |= {"attention": "none", "image_as": "first_input"}
    Path(folder.config).write_text(json.dumps(config))
    planned.metrics.write_text(json.dumps(evaluated | {"attention": None}))
    figures = table.figures(planned, 60.0, "m")
    assert (figures["attention"], figures["image_as"]) == ("none", "first_input")
    assert "| none | first_input |" in table.markdown([figures], "x", 0)


def test_a_missing_file_has_no_checksum(tmp_path):
    assert checksum(tmp_path / "none") == ""


def run_main(monkeypatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["recipes", *args])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as exit_:
        recipes.main()
    return exit_.value.code


def test_without_the_data_it_is_skipped(monkeypatch, capsys):
    monkeypatch.setenv("CAPTION_DATA", "/none")
    assert run_main(monkeypatch) == 0
    assert capsys.readouterr().out == (
        "skipped: /none/flickr8k is missing; --data_dir or CAPTION_DATA says where Flickr8k is\n"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data_dir=/none"], "--data_dir=/none: no such folder"),
        (["--recipes=none"], "flags/none.flags: no such flagfile"),
        (["--reference=none"], "flags/none.flags: no such flagfile"),
        (["--encoder_weights=/none.h5"], "--encoder_weights=/none.h5: no such file"),
        (["--cores=a"], "--cores=a: expected numbers"),
        (["--cores=9999"], "--cores=9999: the cores that we may use are"),
        (["--epochs=-1"], "--epochs=-1: expected 0 or more"),
        (["--seed=-1"], "--seed=-1: expected 0 or more"),
        (["--recipes=flickr8k,flags/flickr8k.flags"], "two recipes have the same name"),
    ],
)
def test_wrong_usage_is_one_line(monkeypatch, capsys, tmp_path, flags, message):
    monkeypatch.chdir(ROOT)
    assert run_main(monkeypatch, f"--data_dir={tmp_path}", *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_folder_that_cannot_be_written_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    (tmp_path / "file").touch()
    flags = (f"--data_dir={tmp_path}", f"--work_dir={tmp_path}/file", "--encoder_weights=random")
    assert run_main(monkeypatch, *flags, "--recipes=flickr8k") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "Not a directory" in line
