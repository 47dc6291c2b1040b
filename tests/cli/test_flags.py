"""Flags as the fields of a dataclass."""

import dataclasses

import pytest

from cli import command, flags
from cli.errors import UsageError
from cli.flags import flag


@dataclasses.dataclass(frozen=True)
class Options:
    """What a command is asked for."""

    epochs: int = flag(20, "Passes, 1 or more.", at_least=1)
    dropout: float = flag(0.5, "Rate, 0 to 0.99.", at_least=0.0, at_most=0.99)
    gate: bool = flag(True, "Whether.")
    precision: str = flag("float32", "Of products.", choices=("float32", "bfloat16"))
    run_dir: str | None = flag(None, "Folder.")
    batch: int | None = flag(None, "Images.", at_least=1)
    devices: int = 1  # No flag.


def parse(*args: str):
    return command.parse(["command", *args], lambda values: flags.define(Options, values))[0]


def test_defaults_are_those_of_the_dataclass():
    assert flags.read(Options, parse()) == Options()
    assert flags.given(Options, parse()) == {}


def test_values_have_the_types_of_the_fields(tmp_path):
    (tmp_path / "a.flags").write_text("--nogate\n--run_dir=runs/a\n")
    values = parse("--epochs=3", "--dropout=0", "--batch=4", f"--flagfile={tmp_path / 'a.flags'}")
    options = flags.read(Options, values)
    assert options == Options(epochs=3, dropout=0.0, gate=False, run_dir="runs/a", batch=4)
    assert isinstance(options.dropout, float)
    assert set(flags.given(Options, values)) == {"epochs", "dropout", "gate", "run_dir", "batch"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--epochs=0", "--epochs=0: 0 is not a positive integer"),
        ("--epochs=x", "--epochs=x"),
        ("--dropout=1", r"1.0 is not a number in the range \[0.0, 0.99\]"),
        ("--epochs=ten", r"ten is not a positive integer"),
        ("--epochs=1.5", r"1\.5 is not a positive integer"),
        ("--dropout=much", r"much is not a number in the range \[0.0, 0.99\]"),
        ("--dropout=nan", r"nan is not a number in the range \[0.0, 0.99\]"),
        ("--batch=0", "0 is not a positive integer"),
        ("--precision=float16", "value should be one of <float32|bfloat16>"),
        ("--devices=2", "Unknown command line flag 'devices'"),
    ],
)
def test_values_out_of_range_are_refused(argument, message):
    with pytest.raises(UsageError, match=message):
        parse(argument)


def test_help_names_the_module_of_the_dataclass(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    out = capsys.readouterr().out
    assert f"Flags of {__name__}:\n" in out and "cli.flags" not in out
    assert "--dropout: Rate, 0 to 0.99.\n    (default: '0.5')" in out


def test_help_lists_the_flags_of_the_main_module(capsys, monkeypatch):
    monkeypatch.setattr(Options, "__module__", "__main__")
    with pytest.raises(SystemExit):
        parse("--help")
    out = capsys.readouterr().out
    assert "\nFlags:\n" in out and "--dropout: Rate, 0 to 0.99.\n" in out
