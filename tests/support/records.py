"""A folder in COCO 2017's layout made in a moment; the commands, inside the test or beside it."""

import contextlib
import functools
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from apache_beam.transforms import userstate
from PIL import Image

from cli import command
from pipeline import build_records, verify_records
from pipeline.build_flags import BuildFlags
from records import manifest, wire

ROOT = Path(__file__).parents[2]
# Beam looks at every stage some ten times in a build: a fifth of the time of a small one.
inspect_stage = functools.lru_cache(64)(userstate.get_dofn_specs)
userstate.get_dofn_specs = inspect_stage  # Private API: apache-beam 2.77.
WORDS = ("a dog runs", "two dogs run fast", "the dog 's ball", "a red ball here", "it is a dog")


def jpeg(seed: int = 0, size: tuple[int, int] = (40, 32), mode: str = "RGB", **save) -> bytes:
    """Return a JPEG of noise, the same for the same arguments; size is (width, height)."""
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, "JPEG", **save)
    return file.getvalue()


class CocoFolder:
    """A COCO 2017 folder: change `images`, `captions` or the files, then `write()`.

    Attributes:
        images: Split -> the images of its annotation file.
        captions: Split -> the captions of its annotation file.
    """

    def __init__(self, path: Path, train: int = 12, val: int = 6):
        self.path = path
        self.images: dict[str, list] = {"train": [], "val": []}
        self.captions: dict[str, list] = {"train": [], "val": []}
        for split, count in (("train", train), ("val", val)):
            (path / f"{split}2017").mkdir(parents=True)
            for number in range(count):
                image_id = (1000 if split == "val" else 0) + number
                self.add(split, image_id, jpeg(image_id))
        self.write()

    def add(self, split: str, image_id: int, data: bytes | None, captions=WORDS, name=None) -> Path:
        """List an image, write its file unless `data` is None, give it `captions`."""
        name = name or f"{image_id:012d}.jpg"
        self.images[split].append({"id": image_id, "file_name": name})
        for caption in captions:
            entry = {"id": len(self.captions[split]), "image_id": image_id, "caption": caption}
            self.captions[split].append(entry)
        file = self.path / f"{split}2017" / name
        if data is not None:
            file.write_bytes(data)
        return file

    def annotations(self, split: str) -> Path:
        """Return the path of a split's annotation file."""
        return self.path / "annotations" / f"captions_{split}2017.json"

    def write(self) -> None:
        """Write the annotation files."""
        (self.path / "annotations").mkdir(exist_ok=True)
        for split in self.images:
            content = {"images": self.images[split], "annotations": self.captions[split]}
            self.annotations(split).write_text(json.dumps(content))


def build(*beam_args: str, **options) -> manifest.DatasetInfo:
    """`build_records` with these values of its flags and Beam's options, in this process."""
    values = {n: str(v) if isinstance(v, Path) else v for n, v in options.items()}
    return build_records.build(BuildFlags(**values), beam_args)


def build_coco(folder: CocoFolder, output_dir: Path, *args: str, **options):
    """Build records of a folder: two train shards and one of val, every word kept."""
    return build(*args, **_coco_options(folder, output_dir, options))


def _coco_options(folder: CocoFolder, output_dir: Path, options: dict) -> dict:
    defaults = {"train_shards": 2, "val_shards": 1, "min_word_count": 1}
    named = {"dataset": "coco2017", "data_dir": folder.path, "output_dir": output_dir}
    return defaults | named | options


def build_scenes(data_dir: Path, output_dir: Path, **options):
    """Build records of sixty scenes, which are drawn unless `data_dir` holds them."""
    defaults = {"scenes_images": 60, "min_word_count": 1, "train_shards": 3}
    named = {"dataset": "scenes", "data_dir": data_dir, "output_dir": output_dir}
    return build(**(defaults | named | options))


def start(*args: str, code: str | None = None, **options) -> subprocess.Popen:
    """Start the command as a process, or the program `code` in its place."""
    program = ["-c", code] if code else ["-m", "pipeline.build_records"]
    argv = [sys.executable, *program, *args, *(f"--{n}={v}" for n, v in options.items())]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        argv,
        cwd=ROOT,
        stdout=pipe,
        stderr=pipe,
        text=True,
        # A shell lets its background jobs ignore interrupts, and they their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    """Wait for the end of a process and return (exit code, stdout, stderr)."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@contextlib.contextmanager
def job(folder: CocoFolder, out: Path, *args: str, **options) -> Iterator[subprocess.Popen]:
    """Start the command as a process that does not outlive the block."""
    named = {"runner": "DirectRunner"} | _coco_options(folder, out, options)
    process = start(*args, **named)
    try:
        yield process
    finally:
        for pid in [*children(process), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            pipe.close()  # not read to its end: orphaned workers hold it


def children(process: subprocess.Popen) -> list[int]:
    """Return the process ids of a command's workers."""
    pids = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if f"\nPPid:\t{process.pid}\n" in status.read_text():
                pids.append(int(status.parent.name))
    return pids


def writes(pid: int) -> bool:
    """Tell whether a process has a temporary file open."""
    with contextlib.suppress(OSError):
        return any(".tmp-" in os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


def gone(pids: list[int]) -> bool:
    """Tell whether none of the processes runs any more."""
    for pid in pids:
        with contextlib.suppress(OSError):
            if "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
                return False
    return True


def wait_until(condition, process: subprocess.Popen | None = None, seconds: float = 90) -> None:
    """Wait for a condition; `process` must not end meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def verify(records_dir: Path | str, *args: str) -> int:
    """Run `verify_records` in this process and return its exit code."""
    argv = ["verify_records", f"--records_dir={records_dir}", *args]
    return verify_records.main(*command.parse(argv, verify_records.define_flags, others="passed"))


def records(records_dir: Path, split: str) -> list:
    """Return every CaptionedImage of a split, in the order of the shards."""
    info = manifest.read_info(str(records_dir))
    images = []
    for shard in info.splits[split].shards:
        with open(records_dir / shard.name, "rb") as file:
            images += [wire.from_bytes(record) for record in wire.read_frames(file)]
    return images


def rejected(records_dir: Path) -> list[dict]:
    """Return the lines of rejected.jsonl."""
    text = (records_dir / manifest.REJECTED).read_text()
    return [json.loads(line) for line in text.splitlines()]


def checksums(records_dir: Path) -> dict[str, str]:
    """Return the sha256 of every shard: name -> digest."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(records_dir.glob("*.tfrecord"))
    }


def contents(directory: Path) -> dict[str, bytes]:
    """Return the files of a directory: name -> bytes."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}
