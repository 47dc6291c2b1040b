"""Two jobs at once, dead workers, killed submitters: one clear line, and a rerun ends right."""

import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.errors import UserError
from pipeline.storage import lock
from tests.support.records import (
    CocoFolder,
    build_coco,
    checksums,
    children,
    finish,
    gone,
    job,
    verify,
    wait_until,
    writes,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The source of all tests here, who leave it as they find it."""
    return CocoFolder(tmp_path_factory.mktemp("faults") / "coco")


@pytest.fixture(scope="module")
def fresh(folder):
    """The undisturbed build; not to be changed."""
    out = folder.path.parent / "fresh"
    build_coco(folder, out)
    return out


def image_of(fresh: Path, folder: CocoFolder, shard: int) -> Path:
    """The file of one of a train shard's images."""
    from records import shard_files, wire

    with open(fresh / shard_files.shard_name("train", shard, 2), "rb") as file:
        names = [wire.from_bytes(record).file_name for record in wire.read_frames(file)]
    return folder.path / "train2017" / names[1]


@contextlib.contextmanager
def replaced(image: Path, put: Callable[[Path], None]) -> Iterator[bytes]:
    """Something else lies where the image was; yields the content, which comes back."""
    content = image.read_bytes()
    image.unlink()
    put(image)
    try:
        yield content
    finally:
        image.unlink()
        image.write_bytes(content)


def blocked(image: Path) -> contextlib.AbstractContextManager[bytes]:
    """The image is a pipe: whoever reads it hangs, until its content is written there."""
    return replaced(image, os.mkfifo)


def unreadable(image: Path) -> contextlib.AbstractContextManager[bytes]:
    """The image opens, and gives EIO."""
    return replaced(image, lambda path: path.symlink_to("/proc/self/mem"))


def one_hangs(out: Path, process: subprocess.Popen) -> bool:
    """Whether one of two workers writes shard 0 and the other has nothing left to do.

    Shards are dealt to the workers in turn, train's one after the other.
    """
    other_done = (out / "train-00001-of-00002.tfrecord.json").exists()
    return other_done and any(map(writes, children(process)))


def listing(directory: Path) -> dict[str, tuple]:
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in directory.iterdir()}


def test_a_second_job_on_the_same_output_is_refused(folder, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 0.5)
    out = tmp_path / "records"
    image = image_of(fresh, folder, 1)
    with blocked(image) as content, job(folder, out) as first:
        before_it = out / "train-00000-of-00002.tfrecord.json"
        wait_until(lambda: before_it.exists() and writes(first.pid), first)
        before = listing(out)
        # Of other flags: it would replace every shard.
        with pytest.raises(UserError) as second:
            build_coco(folder, out, image_size=24)
        assert str(second.value) == (
            f"{out}: another job is writing there; wait until it has ended, or give this job"
            " another --output_dir"
        )
        assert listing(out) == before
        image.write_bytes(content)
        code, _, err = finish(first)
        assert code == 0, err
    assert checksums(out) == checksums(fresh)
    assert verify(out) == 0


def test_a_worker_does_not_write_into_the_next_job(tmp_path):
    """The moment when its submitter is dead and the next one has just come."""
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with (
        pytest.raises(UserError, match="another job is writing there"),
        lock.same_job(str(tmp_path)),
    ):
        pass
    fcntl.flock(handle, fcntl.LOCK_SH)
    with lock.same_job(str(tmp_path)):
        pass
    os.close(handle)


def test_two_jobs_started_together_leave_one_right_result(folder, fresh, tmp_path):
    out = tmp_path / "records"
    with job(folder, out) as one, job(folder, out) as two:
        ended = [finish(one), finish(two)]
    codes = sorted(code for code, _, _ in ended)
    assert codes in ([0, 0], [0, 1]), ended
    assert all("another job is writing there" in err for code, _, err in ended if code)
    assert checksums(out) == checksums(fresh)
    assert sorted(os.listdir(out)) == sorted(os.listdir(fresh))
    assert verify(out) == 0


@pytest.mark.parametrize("busy", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_killed_worker_ends_the_job_in_one_line(folder, fresh, tmp_path, busy):
    """The busy worker hangs; the job must not wait for it when the other one is dead.

    The death of the busy one is the easier case of the same: after it nobody is waited for.
    """
    out = tmp_path / "records"
    with (
        blocked(image_of(fresh, folder, 0)),
        job(folder, out, "--direct_num_workers=2") as process,
    ):
        wait_until(lambda: one_hangs(out, process), process)
        workers = children(process)
        assert len(workers) == 2
        os.kill(next(pid for pid in workers if writes(pid) == busy), signal.SIGKILL)
        code, _, err = finish(process)
        assert code == 1 and "Traceback" not in err
        assert err.splitlines()[-1].startswith(
            "error: a worker process was killed (SIGKILL); what was finished before is kept"
        )
        assert gone(workers)
    assert not (out / "dataset_info.json").exists()
    build_coco(folder, out)
    assert checksums(out) == checksums(fresh)
    assert sorted(os.listdir(out)) == sorted(os.listdir(fresh))


@pytest.mark.slow
def test_an_interrupt_does_not_wait_for_the_workers(folder, fresh, tmp_path):
    out = tmp_path / "records"
    with (
        blocked(image_of(fresh, folder, 0)),
        job(folder, out, "--direct_num_workers=2") as process,
    ):
        wait_until(lambda: one_hangs(out, process), process)
        workers = children(process)
        for pid in (*workers, process.pid):  # as a terminal does
            os.kill(pid, signal.SIGINT)
        code, _, err = finish(process)
        last = "error: interrupted; run the same command again to continue"
        assert (code, err.splitlines()[-1]) == (130, last) and "Traceback" not in err
        assert gone(workers)


def test_an_interrupt_inside_a_stage_is_one_line(folder, fresh, tmp_path):
    """Beam makes another error of it on its way."""
    out = tmp_path / "records"
    with blocked(image_of(fresh, folder, 1)), job(folder, out) as process:
        wait_until(lambda: out.exists() and writes(process.pid), process)
        os.kill(process.pid, signal.SIGINT)
        code, _, err = finish(process)
    last = "error: interrupted; run the same command again to continue"
    assert (code, err.splitlines()[-1]) == (130, last) and "Traceback" not in err


@pytest.mark.slow
def test_a_failing_worker_does_not_wait_for_the_others(folder, fresh, tmp_path):
    out = tmp_path / "records"
    with (
        blocked(image_of(fresh, folder, 0)),
        unreadable(bad := image_of(fresh, folder, 1)),
        job(folder, out, "--direct_num_workers=2") as process,
    ):
        code, _, err = finish(process)
    assert code == 1 and "Traceback" not in err
    assert err.splitlines()[-1] == f"error: {bad}: cannot be read: Input/output error"


@pytest.mark.slow
def test_workers_of_a_killed_submitter_keep_the_next_job_off(folder, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 0.5)
    out = tmp_path / "records"
    with (
        blocked(image_of(fresh, folder, 0)),
        job(folder, out, "--direct_num_workers=2") as process,
    ):
        wait_until(lambda: one_hangs(out, process), process)
        workers = children(process)
        writer = next(pid for pid in workers if writes(pid))
        os.kill(writer, signal.SIGSTOP)  # it cannot notice that it is alone
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(UserError, match="another job is writing there"):
            build_coco(folder, out)
        assert writes(writer)
        os.kill(writer, signal.SIGCONT)
        wait_until(lambda: gone(workers))
    build_coco(folder, out, image_size=24)
    build_coco(folder, tmp_path / "small", image_size=24)
    assert checksums(out) == checksums(tmp_path / "small")
    assert sorted(os.listdir(out)) == sorted(os.listdir(fresh))


def test_workers_end_with_their_submitter(folder, tmp_path):
    """Even while they start, when nothing tells them that nobody listens."""
    with job(folder, tmp_path / "records", "--direct_num_workers=2") as process:
        wait_until(lambda: len(children(process)) == 2, process)
        workers = children(process)
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: gone(workers), seconds=20)
