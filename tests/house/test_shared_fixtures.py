"""What the tests share is made once, and is complete or not there."""

import subprocess
import sys

import pytest

from tests.support.commands import ROOT
from tests.support.shared import file_stamps, make_once

_SLOW_MAKER = """
import sys, time
from pathlib import Path
from tests.support.shared import make_once

def make(folder):
    folder.mkdir()
    (folder / "file").write_text("half")
    time.sleep(0.5)
    (folder / "file").write_text("complete")
    print("made")

folder = make_once(Path(sys.argv[1]), make)
assert (folder / "file").read_text() == "complete"
"""


def test_of_two_processes_one_makes_the_folder_and_the_other_waits(tmp_path):
    command = [sys.executable, "-c", _SLOW_MAKER, tmp_path / "new" / "shared"]
    workers = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    printed = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(printed) == ["", "made\n"]


def test_what_a_failed_attempt_left_is_removed(tmp_path):
    def fail(folder):
        folder.mkdir()
        (folder / "left").touch()
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        make_once(tmp_path / "shared", fail)
    folder = make_once(tmp_path / "shared", lambda folder: folder.mkdir())
    assert not any(folder.iterdir())


def test_stamps_tell_a_written_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("text")
    before = file_stamps(tmp_path)
    assert before.keys() == {"folder/file"}
    assert file_stamps(tmp_path) == before
    (tmp_path / "folder" / "other").touch()
    assert file_stamps(tmp_path) != before
