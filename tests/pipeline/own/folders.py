"""What the tests of people's own data share: images in a folder, a build, one that is killed."""

import os
import signal
import time
from pathlib import Path

from records.manifest import DatasetInfo
from tests.support.records import build, children, contents, finish, jpeg, start

CAPTIONS = ("a dog runs", "two dogs run fast", "the dog 's ball")


def add_images(folder: Path, *names: str, first: int = 0) -> None:
    """Write a JPEG of each name; image N of the call is jpeg(first + N)."""
    for number, name in enumerate(names, first):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))


def build_own(dataset: str | None, data_dir: Path, out: Path, **options: object) -> DatasetInfo:
    """Build records of a folder, every word kept."""
    named = {"dataset": dataset, "data_dir": data_dir, "output_dir": out}
    return build(**({"min_word_count": 1} | named | options))


def captions(images: list) -> dict[str, tuple[str, ...]]:
    """Return file name -> captions of records."""
    return {image.file_name: image.captions for image in images}


def check_kill(dataset: str, data_dir: Path, out: Path, *beam_args: str, **options: object) -> None:
    """Kill a build in the middle, give the command again, and compare with a build left alone.

    Args:
        dataset: The source.
        data_dir: Its folder, with enough images for some shards.
        out: A folder to build into.
        beam_args: Beam's own options, for the build that is killed and the one after it.
        options: More flags of the build.
    """
    flags = {"min_word_count": 1, "train_shards": 8, "verify": "decode"} | options
    expected_dir = out.with_name("undisturbed")
    build_own(dataset, data_dir, expected_dir, **flags)
    named = {"dataset": dataset, "data_dir": data_dir, "output_dir": out} | flags
    process = start("--runner=DirectRunner", *beam_args, **named)
    try:
        while not list(out.glob("*.json")):  # The sidecar of the first shard.
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        assert process.poll() is None
    finally:
        for pid in [*children(process), process.pid]:
            os.kill(pid, signal.SIGKILL)
        finish(process)
    assert not (out / "dataset_info.json").exists()
    assert list(out.glob("*.json")), "nothing was finished before the kill"
    build(*beam_args, **named)
    changes = {b"undisturbed": out.name.encode()}
    expected = contents(expected_dir)
    for before, after in changes.items():
        expected["dataset_info.json"] = expected["dataset_info.json"].replace(before, after)
    assert contents(out) == expected
