"""`kill -9` at random moments, again and again: a batch evaluation ends with the same captions."""

import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scenes import drawing, world
from tests.support.commands import ROOT, users_environment

IMAGES, KILLS = 1000, 10
PARTS = -(-(IMAGES + 2) // 16)
_TWO_DEVICES = """
import runpy, sys
import cli.tensorflow_log
import tensorflow as tf
one = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [one, one])
sys.argv = ["evaluation.main", *sys.argv[1:]]
runpy.run_module("evaluation.main", run_name="__main__")
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Drawn scenes, and two files that are no images."""
    path = tmp_path_factory.mktemp("pictures")
    for scene in world.scenes(IMAGES, seed=3):
        (path / f"{scene.image_id:06d}.jpg").write_bytes(drawing.jpeg(scene))
    (path / "0.jpg").write_text("no image")
    (path / "z.jpg").write_text("no image")
    return path


@pytest.fixture(scope="module")
def evaluation(pictures, four_run):
    """A function that starts the command; the process is killed when the test leaves it."""

    @contextlib.contextmanager
    def start(out, *program):
        command = [*(program or ("-m", "evaluation.main")), f"--run_dir={four_run}"]
        command += [f"--images={pictures}", f"--output_dir={out}", "--part_images=16", "--n_best=2"]
        with subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=users_environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    return start


def finished(process) -> str:
    """What it printed; it has found the two that are no images."""
    out, _ = process.communicate()
    assert process.returncode == 1, out
    assert f"error: 2 of {IMAGES + 2:,} images could not be read" in out
    return out


def found(out: Path) -> tuple[str, str]:
    return (out / "captions.jsonl").read_text(), (out / "rejected.jsonl").read_text()


def parts(out: Path) -> int:
    return len(list(out.glob("parts/*/part-*.jsonl")))


def wait_for_parts(process, out: Path, count: int) -> None:
    """Until so many are there; or all is done already."""
    while parts(out) < count and process.poll() is None:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(evaluation, tmp_path_factory):
    """What one run leaves."""
    out = tmp_path_factory.mktemp("undisturbed")
    with evaluation(out) as process:
        finished(process)
    lines, rejected = found(out)
    assert len(lines.splitlines()) == IMAGES and len(rejected.splitlines()) == 2
    return lines, rejected


@pytest.mark.slow
def test_killed_at_random_moments(evaluation, undisturbed, tmp_path):
    said = {line.partition('"caption"')[2] for line in undisturbed[0].splitlines()}
    assert len(said) > 100
    seed = int.from_bytes(os.urandom(4))
    print(f"random.Random({seed})")  # shown when the test fails
    rng, out, kills, moments = random.Random(seed), tmp_path / "out", 0, set()
    while kills < KILLS:
        with evaluation(out) as process:
            if rng.random() < 0.2:
                time.sleep(rng.uniform(0, 15))  # while it starts
            else:
                wait_for_parts(process, out, parts(out) + rng.randrange(1, 2 * PARTS // KILLS))
                time.sleep(rng.uniform(0, 0.3))  # while one is captioned or written
            killed = process.poll() is None
            process.kill()
        kills += killed
        moments.add(parts(out))
        print(f"{kills} kills: {parts(out)} of {PARTS} parts are there")
        if not killed:  # it was done before
            assert found(out) == undisturbed
            out = tmp_path / f"out-{kills}"
    assert len(moments) > 3
    with evaluation(out) as process:
        print(finished(process))
    assert found(out) == undisturbed


@pytest.mark.slow
def test_two_devices_say_the_same(evaluation, undisturbed, tmp_path):
    with evaluation(tmp_path, "-c", _TWO_DEVICES) as process:
        finished(process)
    assert found(tmp_path) == undisturbed
