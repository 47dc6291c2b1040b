"""Files and folders that are there whole or not at all."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cli import atomic_file
from tests.support.disk import full_disk

ROOT = Path(__file__).parents[2]
DEAD = ".tmp-0123456789abcdef0123456789abcdef"
# Writes half of a file, or of a folder, and waits to be killed.
_HALF = """
import sys, time
from cli import atomic_file
with getattr(atomic_file, sys.argv[1])(sys.argv[2]) as made:
    if sys.argv[1] == "create":
        made.write(1_000_000 * b"new")
    else:
        open(made + "/half", "w").close()
    print("half", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def half_written(kind: str, path: Path):
    """A process that lives and has written half of `path`."""
    command = [sys.executable, "-c", _HALF, kind, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "half\n"
            yield process
        finally:
            process.kill()


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if atomic_file.is_temporary(path.name)]


def test_a_file_gets_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_file.create(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old" and len(temporaries(tmp_path)) == 1
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["file"]
    atomic_file.write(str(path), b"newer")
    assert path.read_bytes() == b"newer" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_file.create(path) as file:
        file.write(b"new")
        raise error
    with pytest.raises(TypeError):
        atomic_file.write(path, "no bytes")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("size", [10_000, 1_000_000, 40_000_000])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, size):
    """Whether the buffer, a write or a write behind meets it."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with (
        full_disk(size - 1),
        pytest.raises(OSError, match="File too large"),
        atomic_file.create(path) as file,
    ):
        for _ in range(10):
            file.write(size // 10 * b"x")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    with full_disk(size):
        atomic_file.write(path, size * b"x")
    assert path.stat().st_size == size


def test_what_it_yields_is_a_file_for_numpy_and_for_large_writes(tmp_path):
    arrays = {"a": np.arange(6_000_000.0), "b": np.ones(3)}
    with atomic_file.create(tmp_path / "w.npz") as file:
        np.savez(file, **arrays)
    with np.load(tmp_path / "w.npz") as read:
        assert all(np.array_equal(read[name], array) for name, array in arrays.items())
    np.savez(tmp_path / "plain.npz", **arrays)
    assert (tmp_path / "w.npz").stat().st_size == (tmp_path / "plain.npz").stat().st_size


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with half_written("create", path) as process:
        atomic_file.sweep(tmp_path)
        assert len(temporaries(tmp_path)) == 1, "swept though its writer is alive"
        process.kill()
        process.wait()
    assert path.read_bytes() == b"old" and len(temporaries(tmp_path)) == 1
    atomic_file.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["file"] and path.read_bytes() == b"old"


def test_a_folder_that_is_half_written_when_its_writer_is_killed(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with half_written("create_folder", path) as process:
        atomic_file.sweep(tmp_path)
        assert len(temporaries(tmp_path)) == 1, "swept though its writer is alive"
        process.kill()
        process.wait()
    assert os.listdir(path) == ["old"]
    atomic_file.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["folder"]
    with atomic_file.create_folder(path) as folder:
        (Path(folder) / "new").touch()
        assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(path) == ["new"]
    with pytest.raises(KeyError), atomic_file.create_folder(path) as folder:
        raise KeyError
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(path) == ["new"]


def test_killed_at_random_moments_it_is_the_old_file_or_the_new(tmp_path):
    """The file's bytes are all the same, so half of one would show."""
    code = (
        "import sys, itertools\nfrom cli import atomic_file\n"
        "for i in itertools.count():\n"
        "    atomic_file.write(sys.argv[1], 300_000 * bytes([i % 256]))\n"
    )
    path = tmp_path / "file"
    for delay in (0.0, 0.011, 0.023):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT) as process:
            deadline = time.monotonic() + 60
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(delay)
            process.kill()
        content = path.read_bytes()
        assert content == 300_000 * content[:1]
        atomic_file.sweep(tmp_path)
        assert os.listdir(tmp_path) == ["file"]
        path.unlink()


def test_a_writer_that_is_swept_before_it_locks_begins_anew(tmp_path, monkeypatch):
    lock, swept = atomic_file._lock, []

    def late(descriptor):
        if not swept:
            swept.append(temporaries(tmp_path))
            atomic_file.sweep(tmp_path)
        lock(descriptor)

    monkeypatch.setattr(atomic_file, "_lock", late)
    atomic_file.write(tmp_path / "file", b"new")
    assert len(swept[0]) == 1
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"new"


def test_a_sweep_takes_nothing_else(tmp_path):
    others = {".tmp-mine", ".tmp-0123", f"x{DEAD}", f"{DEAD}0", "file", ".tmp-unpacking"}
    for name in {*others, DEAD}:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / DEAD).touch()
    atomic_file.sweep(tmp_path)
    assert set(os.listdir(tmp_path)) == {*others, "below"}
    assert os.listdir(tmp_path / "below") == [DEAD]
    atomic_file.sweep(tmp_path / "missing")


def test_a_folder_that_is_replaced_is_never_missing(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    done, missing = threading.Event(), []

    def watch():
        while not done.is_set():
            if not path.exists():
                missing.append(path)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(200):
        with atomic_file.create_folder(path) as folder:
            (Path(folder) / str(number)).touch()
    done.set()
    watcher.join()
    assert [file.name for file in path.iterdir()] == ["199"]
    assert list(tmp_path.iterdir()) == [path]
    assert not missing


def test_where_folders_cannot_be_exchanged_one_is_replaced_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_file, "_exchange", lambda one, other: False)
    path = tmp_path / "folder"
    for name in ("old", "new"):
        with atomic_file.create_folder(path) as folder:
            (Path(folder) / name).touch()
    assert [file.name for file in path.iterdir()] == ["new"]

    def fail(source, target, rename=os.rename):
        if str(target) == str(path) and "new" not in os.listdir(source):
            raise OSError("no")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="no"), atomic_file.create_folder(path) as folder:
        (Path(folder) / "newest").touch()
    assert [file.name for file in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]
