"""`kill -9` at random moments, again and again: the job's last run leaves what one run would have.

Each run has other flags than the one before it by chance, so that shards are stale and what workers
of a killed submitter still write is wrong for the next run, which starts at once.
"""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.support.records import (
    CocoFolder,
    build_coco,
    children,
    contents,
    finish,
    job,
    jpeg,
    verify,
)

KILLS = 20
VARIANTS = ({"image_size": 0}, {"image_size": 120})
SHARDS = {"train_shards": 12, "val_shards": 2, "verify": "decode"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Enough of images that a job spends a few seconds on them."""
    folder = CocoFolder(tmp_path_factory.mktemp("kills") / "coco")
    for number in range(400):
        folder.add("train", 2000 + number, jpeg(number, (320, 240)))
    folder.write()
    return folder


@pytest.fixture
def rng():
    seed = int.from_bytes(os.urandom(4))
    print(f"random.Random({seed})")  # shown when the test fails
    return random.Random(seed)


def wait_for_start(process) -> None:
    """Imports are done, the flags are read."""
    assert process.stdout.readline().startswith("building coco2017"), process.communicate()


def wait_for_writing(process, out: Path) -> None:
    """A file that was not there before comes up, or the job ends."""
    before = {path.name for path in out.iterdir()}
    while process.poll() is None and {path.name for path in out.iterdir()} <= before:
        time.sleep(0.002)


class Moments:
    """Random moments of a job: one of three while it starts, the others while it writes."""

    def __init__(self, rng: random.Random, folder: CocoFolder, out: Path, args: list[str]):
        self._rng = rng
        with job(folder, out, *args, **SHARDS, **VARIANTS[1]) as process:
            wait_for_start(process)
            started = time.monotonic()
            wait_for_writing(process, out)
            writing = time.monotonic()
            code, _, err = finish(process)
            assert code == 0, err
        self._starting, self._writing = writing - started, time.monotonic() - writing

    def wait(self, process, out: Path) -> None:
        wait_for_start(process)
        if self._rng.random() < 1 / 3:
            time.sleep(self._rng.uniform(0, self._starting))
        else:
            wait_for_writing(process, out)
            time.sleep(self._rng.uniform(0, self._writing))


def undisturbed(folder: CocoFolder, out: Path) -> list[dict[str, bytes]]:
    """What each variant leaves in `out`, which is empty then."""
    expected = []
    for variant in VARIANTS:
        build_coco(folder, out, **SHARDS, **variant)
        expected.append(contents(out))
        for path in out.iterdir():
            path.unlink()
    return expected


def not_half(out: Path, expected: list[dict[str, bytes]]) -> bool:
    """Whether `out` is no data set or a complete one; temporaries of dead writers do not count."""
    finished = {name: data for name, data in contents(out).items() if not name.startswith(".tmp-")}
    return "dataset_info.json" not in finished or finished in expected


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_submitter_killed_at_random_moments(folder, tmp_path, rng, workers):
    out = tmp_path / "records"
    args = [f"--direct_num_workers={workers}"]
    expected = undisturbed(folder, out)
    moments = Moments(rng, folder, out, args)
    kills = 0
    while kills < KILLS // 2:
        variant = rng.randrange(2)
        with job(folder, out, *args, **SHARDS, **VARIANTS[variant]) as process:
            moments.wait(process, out)
            killed = process.poll() is None
            # Its workers are left alone, as a real kill leaves them.
            process.kill()
            process.wait()
            if not killed:
                assert process.returncode == 0, process.communicate()
        files = len(list(out.iterdir()))
        print(f"variant {variant}: {'killed' if killed else 'done'}, {files} files")
        kills += killed
        if not killed:
            assert contents(out) == expected[variant]
        # Of two, a worker may still write.
        assert workers == 2 or not_half(out, expected)
    build_coco(folder, out, **SHARDS, **VARIANTS[variant])
    assert contents(out) == expected[variant]
    assert verify(out, "--decode") == 0


@pytest.mark.slow
def test_worker_killed_at_random_moments(folder, tmp_path, rng):
    out = tmp_path / "records"
    args = ["--direct_num_workers=2"]
    expected = undisturbed(folder, out)
    moments = Moments(rng, folder, out, args)
    for _ in range(5):
        variant = rng.randrange(2)
        with job(folder, out, *args, **SHARDS, **VARIANTS[variant]) as process:
            moments.wait(process, out)
            with contextlib.suppress(IndexError, ProcessLookupError):
                os.kill(rng.choice(children(process)), signal.SIGKILL)
            code, _, err = finish(process)
        print(f"variant {variant}: exit code {code}")
        if code == 0:
            assert contents(out) == expected[variant]
        else:
            assert code == 1 and "Traceback" not in err
            assert err.splitlines()[-1].startswith("error: a worker process was killed (SIGKILL)")
            assert not_half(out, expected)
    build_coco(folder, out, **SHARDS, **VARIANTS[variant])
    assert contents(out) == expected[variant]
