"""What training an encoder takes of memory is said before, and refused where it cannot fit."""

import pytest

from cli import memory
from model.encoder import Encoder
from tests.support.commands import one_error
from tests.support.normed import use_normed_encoder
from tests.support.training import train
from trainer.memory.estimate import encoder_bytes

# Outputs of the layers of tests.support.normed: image; stem, its norm, ReLU, dropout; head.
_OUTPUTS = 64 * 64 * 3 + 4 * 16 * 16 * 12 + 8 * 8 * 128
_WEIGHTS = (4 * 4 * 3 * 12 + 12) + 4 * 12 + (2 * 2 * 12 * 128 + 128)


@pytest.fixture(autouse=True)
def normed_encoder(monkeypatch, idle_steps) -> None:
    use_normed_encoder(monkeypatch)


def test_each_layer_keeps_its_output_and_each_weight_its_optimizer():
    for images in (1, 16):
        expected = 4 * (_OUTPUTS * images + 4 * _WEIGHTS)
        assert encoder_bytes(Encoder("small_cnn"), images) == expected


def test_memory_is_said_and_compared(scenes_records, tmp_path, monkeypatch, capsys):
    def output(name: str, total: int | None, free: int | None, *flags: str, **options):
        monkeypatch.setattr(memory, "total_bytes", lambda: total)
        monkeypatch.setattr(memory, "available_bytes", lambda: free)
        options |= {"records_dir": scenes_records, "run_dir": tmp_path / name, "max_steps": 1}
        code = train(*flags, batch_size=16_000, **options)
        return code, capsys.readouterr()

    tuned = "--encoder_trainable"
    code, said = output("fits", 10**10, 3 * 10**9, tuned)
    assert code == 0
    line = (
        "training small_cnn takes about 2.1 GB: 16000 images at once, in float32; the machine has"
    )
    assert f"{line} 10.0 GB, 3.0 GB of it free\n" in said.out
    code, said = output("pieces", 10**10, 2 * 10**9, tuned, accumulate_steps=2)
    assert code == 0
    assert "takes about 1.0 GB: 8000 images at once" in said.out
    code, said = output("tight", 10**10, 10**9, tuned)
    assert code == 0
    assert "warning: training small_cnn takes about 2.1 GB" in said.err
    assert "free; give --accumulate_steps=3, which takes 0.7 GB" in said.err
    code, said = output("unknown", None, None, tuned)
    assert code == 0
    assert "takes about 2.1 GB: 16000 images at once, in float32\n" in said.out
    code, said = output("frozen", 10**6, 10**6)
    assert code == 0
    assert "GB" not in said.out + said.err


def test_what_no_memory_can_hold_is_refused_before_a_run_lies_there(
    scenes_records, tmp_path, monkeypatch, capsys
):
    run = {"records_dir": scenes_records, "run_dir": tmp_path / "run", "batch_size": 16_000}
    monkeypatch.setattr(memory, "total_bytes", lambda: 10**9)
    monkeypatch.setattr(memory, "available_bytes", lambda: 8 * 10**8)
    assert train("--encoder_trainable", **run) == 2
    error = one_error(capsys)
    assert error.startswith("error: --encoder_trainable: training small_cnn takes about 2.1 GB: ")
    assert error.endswith("; give --accumulate_steps=3, which takes 0.7 GB")
    monkeypatch.setattr(memory, "total_bytes", lambda: 1000)
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    assert train("--encoder_trainable", **run) == 2
    assert one_error(capsys).endswith(
        "; not even one image at a time fits; give a smaller --encoder, or --noencoder_trainable"
    )
    assert not (tmp_path / "run").exists()
