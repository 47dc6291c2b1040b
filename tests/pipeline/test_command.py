"""The command as a process: what it refuses, what it contacts, being killed and run again."""

import os
import signal
import time

import pytest

from cli.errors import UsageError
from records import shard_files, wire
from tests.support.records import (
    CocoFolder,
    build,
    build_coco,
    checksums,
    finish,
    jpeg,
    start,
    verify,
)

DEAD = ".tmp-0123456789abcdef0123456789abcdef"
# Notes every socket that Python connects, every name it looks up and every program it starts.
_WATCH = """
import sys
def note(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"):
        print("WATCHED", event, args[-1] if event == "socket.connect" else args[:2], flush=True)
sys.addaudithook(note)
import runpy
sys.argv = ["build_records", *sys.argv[1:]]
import atexit, pipeline.verify_records
heavy = {"tensorflow", "keras"}
atexit.register(lambda: print("IMPORTED", *heavy & sys.modules.keys(), flush=True))
runpy.run_module("pipeline.build_records", run_name="__main__")
"""


@pytest.fixture
def folder(tmp_path):
    return CocoFolder(tmp_path / "coco")


def test_a_run_is_quiet_and_contacts_nothing_outside(folder, tmp_path):
    process = start(
        "--runner=DirectRunner",
        code=_WATCH,
        dataset="coco2017",
        data_dir=folder.path,
        output_dir=tmp_path / "records",
    )
    code, out, err = finish(process)
    assert code == 0, err
    watched = [line for line in out.splitlines() if line.startswith("WATCHED")]
    local = ("localhost", "127.0.0.1", "::1")
    assert [line for line in watched if not any(name in line for name in local)] == []
    printed = [line for line in out.splitlines() if not line.startswith("WATCHED")]
    assert printed.pop() == "IMPORTED"  # A worker needs no TensorFlow but for features.
    assert printed[0].startswith("building coco2017 from ") and len(printed) == 4
    assert all("images/s" in line for line in err.splitlines())


def test_killed_in_the_middle_and_run_again(folder, tmp_path, capsys):
    """One image is a pipe that nobody writes to: the job hangs there until it is killed."""
    fresh, out = tmp_path / "fresh", tmp_path / "records"
    options = {"train_shards": 4, "val_shards": 1, "min_word_count": 1}
    build_coco(folder, fresh, **options)
    with open(fresh / shard_files.shard_name("train", 2, 4), "rb") as file:
        names = [wire.from_bytes(record).file_name for record in wire.read_frames(file)]
    blocked = folder.path / "train2017" / names[1]
    content = blocked.read_bytes()
    blocked.unlink()
    os.mkfifo(blocked)
    options |= {"dataset": "coco2017", "data_dir": folder.path, "output_dir": out}
    process = start("--runner=DirectRunner", **options)
    deadline = time.monotonic() + 60
    while not list(out.glob(".tmp-*")) or len(list(out.glob("*.json"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)  # the temporary seen may have been that of a sidecar
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    finished = {path.name: path.stat().st_ino for path in out.glob("*.json")}
    assert not (out / "dataset_info.json").exists() and 2 <= len(finished) < 5
    assert list(out.glob(".tmp-*"))

    blocked.unlink()
    blocked.write_bytes(content)
    build("--runner=DirectRunner", **options)
    printed = capsys.readouterr().out
    assert f"{len(finished)} of 5 shards were finished before and kept" in printed
    for name, inode in finished.items():
        assert (out / name).stat().st_ino == inode
    assert checksums(out) == checksums(fresh)
    assert sorted(os.listdir(out)) == sorted(os.listdir(fresh))
    assert verify(out, "--decode") == 0


@pytest.mark.slow
def test_errors_are_one_line_from_a_worker_process_too(folder, tmp_path):
    common = {"dataset": "coco2017", "data_dir": folder.path, "output_dir": tmp_path / "records"}
    worker = ("--runner", "DirectRunner", "--direct_running_mode=multi_processing")
    code, _, err = finish(start(*worker, train_shards=99, **common))
    last = err.strip().rpartition("\n")[2]
    assert (code, last) == (2, "error: --train_shards=99: the split train has 12 images only")
    assert "Traceback" not in err and "WARNING" not in err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--direct_num_workers=many", "--direct_num_workers: invalid int value: 'many'"),
        ("--direct_running_mode=fast", "--direct_running_mode: invalid choice: 'fast'"),
        ("--runner=NoSuchRunner", "Beam: Unexpected pipeline runner: NoSuchRunner"),
        ("stray", "unknown option 'stray'"),
        ("--trian_shards=2", "unknown option '--trian_shards=2': neither a flag of this command "),
    ],
)
def test_what_beam_refuses_is_wrong_usage(folder, tmp_path, argument, message):
    with pytest.raises(UsageError, match=message):
        build_coco(folder, tmp_path / "records", argument)


def test_temporaries_are_swept_unless_their_owner_lives(folder, tmp_path):
    from pipeline.storage import files

    out = tmp_path / "records"
    out.mkdir()
    (out / DEAD).write_bytes(jpeg())
    with files.create(str(out / "living")) as file:
        file.write(b"half")
        files.sweep(str(out))
        living = list(out.glob(".tmp-*"))
        assert len(living) == 1 and living[0].name != DEAD
    assert os.listdir(out) == ["living"]
