"""--precision=auto: what a run takes, what is said of it, and what it takes when resumed."""

import json

import pytest
import tensorflow as tf

from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from captioning import devices
from cli import processor
from tests.support.training import config, run_evaluate, train
from trainer.distribution import one_device
from trainer.opening.precision import settle


@pytest.fixture
def cpu(monkeypatch):
    """A function that sets whether the processor multiplies bfloat16."""
    monkeypatch.setattr(processor, "model", lambda: "CPU 9")

    def set_units(fast: bool) -> None:
        monkeypatch.setattr(processor, "multiplies_bfloat16", lambda: fast)
        monkeypatch.setattr(processor, "instruction_class", lambda: "AMX" if fast else "AVX2")

    return set_units


@pytest.mark.parametrize(
    ("fast", "chosen", "why"),
    [
        (True, "bfloat16", "which this CPU multiplies (CPU 9, class AMX)"),
        (False, "float32", "since this CPU only emulates bfloat16 (CPU 9, class AVX2)"),
    ],
)
def test_a_new_run_takes_what_the_cpu_does_fast(cpu, tmp_path, capsys, fast, chosen, why):
    cpu(fast)
    recipe = settle(config(run_dir=tmp_path, precision="auto"), one_device())
    assert recipe == config(run_dir=tmp_path, precision=chosen)
    assert capsys.readouterr().out == f"--precision=auto: {chosen}, {why}\n"


@pytest.mark.parametrize(
    ("capability", "chosen", "why"),
    [
        ((9, 0), "bfloat16", "which this GPU multiplies (GPU:0)"),
        ((7, 5), "float32", "since this GPU only emulates bfloat16 (GPU:0)"),
    ],
)
def test_on_a_gpu_it_is_what_the_gpu_does_fast(
    cpu, tmp_path, capsys, monkeypatch, capability, chosen, why
):
    cpu(chosen == "float32")  # It must not matter.
    monkeypatch.setattr(devices, "first", lambda: "/device:GPU:0")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    recipe = settle(config(run_dir=tmp_path, precision="auto"), one_device())
    assert recipe.precision == chosen
    assert capsys.readouterr().out == f"--precision=auto: {chosen}, {why}\n"
    assert devices.precision("/device:GPU:0") == chosen


def test_a_given_precision_is_taken_as_it_is(cpu, tmp_path, capsys):
    cpu(True)
    recipe = config(run_dir=tmp_path, precision="float32")
    assert settle(recipe, one_device()) is recipe
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("idle_steps", "without_meteor")
def test_a_run_keeps_its_precision_on_another_machine(cpu, tmp_path, scenes_records, capsys):
    run_dir = tmp_path / "run"
    options = {"records_dir": scenes_records, "run_dir": run_dir, "precision": "auto"}
    cpu(True)
    assert train(**options, epochs=2, max_steps=12) == 0
    assert "--precision=auto: bfloat16, which this CPU" in capsys.readouterr().out
    kept = RunConfig.read(RunFolder(str(run_dir)))
    assert (kept.training["precision"], kept.model.decoder.precision) == ("bfloat16", "bfloat16")
    cpu(False)
    assert train(**options, epochs=2) == 2  # longer than its schedule: it was resumed
    captured = capsys.readouterr()
    assert (
        "--precision=auto: bfloat16, as the run began; a new run here would take float32, since"
        " this CPU only emulates bfloat16 (CPU 9, class AVX2)"
    ) in captured.out
    assert "contradicts" not in captured.err
    assert train(**options | {"precision": "float32"}) == 2
    assert "--precision=float32 contradicts the run" in capsys.readouterr().err
    assert run_evaluate(**options, output_dir=tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["images"] == 6
