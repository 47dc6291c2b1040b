"""How every command starts, and how it ends when its messages cannot be written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from cli import command as command_lib
from cli.errors import UsageError

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")  # every write fails as on a full disk
# Shows progress, warns, does its work and says that it is done; or fails.
_COMMAND = """
import sys
from cli.command import run
from cli.errors import UserError
from cli.progress import bar

def main(values, rest):
    with bar(2, "working", "step") as progress:
        for _ in range(2):
            progress.update()
            progress.refresh()
            print("warning: " + 100_000 * "w", file=sys.stderr)
    if rest:
        raise UserError("the work failed")
    print("done")

run(main, lambda values: None, others="positional")
"""
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def command(request):
    """The command -> (exit code, stdout, stderr), of which some are on a full disk."""

    def start(*args: str, full: tuple[str, ...]) -> tuple[int, str, str]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with open(FULL, "w") as file:
            done = subprocess.run(
                [sys.executable, "-c", _COMMAND, *args],
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": request.param},
                text=True,
                **(streams | dict.fromkeys(full, file)),
            )
        return done.returncode, done.stdout or "", done.stderr or ""

    return start


@needs_full
def test_a_log_on_a_full_disk_does_not_cost_the_work(command):
    assert command(full=("stderr",)) == (0, "done\n", "")
    assert command("fail", full=("stderr",)) == (1, "", "")


@needs_full
def test_output_on_a_full_disk_is_a_line(command):
    code, _, err = command(full=("stdout",))
    assert code == 1 and "Traceback" not in err
    assert err.endswith("error: standard output: cannot be written (No space left on device)\n")
    assert command(full=("stdout", "stderr")) == (1, "", "")


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("size", 3, "Pixels, 1 to 9.", 1, 9, flag_values=values)
    flags.DEFINE_bool("gate", True, "Whether.", flag_values=values)


def parse(*args: str, **options):
    return command_lib.parse(["command", *args], define_flags, **options)


def test_each_command_line_is_parsed_anew():
    assert parse("--size=5")[0].size == 5
    values, rest = parse()
    assert (values.size, values["size"].present, rest) == (3, 0, [])
    assert "size" not in flags.FLAGS


def test_flagfiles_may_name_others(tmp_path):
    (tmp_path / "inner.flags").write_text("# A comment.\n--nogate\n")
    (tmp_path / "outer.flags").write_text(f"--size=4\n--flagfile={tmp_path / 'inner.flags'}\n")
    values, _ = parse(f"--flagfile={tmp_path / 'outer.flags'}")
    assert (values.size, values.gate, values["size"].present) == (4, False, 1)
    assert parse(f"--flagfile={tmp_path / 'outer.flags'}", "--size=6")[0].size == 6
    with pytest.raises(UsageError, match=r"none\.flags: cannot be read: No such file"):
        parse(f"--flagfile={tmp_path / 'none.flags'}")


def test_a_wrong_line_of_a_flagfile_is_named(tmp_path):
    outer, inner = tmp_path / "outer.flags", tmp_path / "inner.flags"
    outer.write_text(f"--size=4\n--flagfile={inner}\n")
    for line, message in (
        ("--n_best=2", "Unknown command line flag 'n_best'"),
        ("--n_best 2", "Unknown command line flag 'n_best'"),
        ("--size=10", "flag --size=10: "),
    ):
        inner.write_text(f"# A comment.\n\n{line}\n")
        with pytest.raises(UsageError) as refused:
            parse(f"--flagfile={outer}")
        assert str(refused.value).startswith(f"{inner}, line 3: {message}")
    inner.write_text("--nogate\n")
    with pytest.raises(UsageError, match=r"^flag --size=10"):
        parse(f"--flagfile={outer}", "--size=10")


def test_other_arguments():
    with pytest.raises(UsageError, match=r"unexpected argument 'a\.jpg': this command takes flags"):
        parse("a.jpg")
    values, rest = parse("a.jpg", "--size=2", "b.jpg", "--", "--c.jpg", others="positional")
    assert (values.size, rest) == (2, ["a.jpg", "b.jpg", "--c.jpg"])
    for others in ("refused", "positional"):
        with pytest.raises(UsageError, match=r"Unknown command line flag 'siz'.*--help"):
            parse("--siz=2", others=others)
    # As Beam's `--runner DirectRunner`: an option of others does not end ours.
    values, rest = parse("--runner", "DirectRunner", "--size=2", others="passed")
    assert (values.size, rest) == (2, ["--runner", "DirectRunner"])
    with pytest.raises(UsageError, match=r"--size.*is not an integer in the range \[1, 9\]"):
        parse("--size=10")


def test_help_lists_the_flags_of_the_command_and_none_of_absl(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--size=nonsense", "--help")
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert re.search(r"--\[no\]gate: Whether\..*--size: Pixels, 1 to 9\.", out, re.DOTALL)
    assert "--flagfile=FILE" in out
    assert "undefok" not in out and "verbosity" not in out


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (MemoryError(), "memory is exhausted: .*`ulimit -v`"),
        (OSError(28, "No space left on device", "/a b"), "'/a b': No space left on device: mend"),
        (OSError(24, "Too many open files"), "Too many open files: mend that"),
        (
            FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"),
            r"No usable temporary directory found in \['/tmp'\]: let TMPDIR name a folder",
        ),
    ],
)
def test_what_the_machine_refuses_is_one_line(capsys, monkeypatch, failure, line):
    def main(values, rest):
        raise failure

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit) as ended:
        command_lib.run(main, lambda values: None)
    assert ended.value.code == 1
    err = capsys.readouterr().err
    assert re.fullmatch(f"error: {line}.*; then run the same command again\n", err)


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    def main(values, rest):
        raise FileNotFoundError(2, "No such file or directory", "/a")

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(FileNotFoundError):
        command_lib.run(main, lambda values: None)
