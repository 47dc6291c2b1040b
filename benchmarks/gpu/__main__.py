"""The project on a GPU: does it agree with a CPU, how fast is it, what bounds it.

    python -m benchmarks.gpu --output=gpu.json

It needs no network, and no data but a folder that `benchmarks.gpu.prepare` made (--inputs). Without
that folder it leaves out what reads it. Each case runs in a process of its own. Its rows are
printed and written as soon as it is done, so a killed benchmark still tells. Several cases compile
at a time; one is measured at a time. On a machine without a GPU it runs on the CPU.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.measure import LOCK, ROWS, rounded

PARTS = ("machine", "agreement", "training", "searching", "encoding", "whole")


class Case(NamedTuple):
    """What one process measures: a function of a module of this folder, and its arguments."""

    part: str
    function: str
    arguments: dict[str, Any]


def cases(inputs: str, work_dir: str, sizes: list[str], batches: list[int]) -> list[Case]:
    """Return all cases, in the order of their value.

    Args:
        inputs: folder of `benchmarks.gpu.prepare`; empty leaves out what reads it.
        work_dir: folder for what cases write.
        sizes: keys of `train_work.SIZES`.
        batches: images in a batch.
    """
    small, toy = batches[0], len(batches) == 1
    side = 512 if toy else 8192
    listed = [
        Case("machine", "devices", {}),
        Case("machine", "product", {"precision": "bfloat16", "size": side}),
        Case("machine", "product", {"precision": "float32", "size": side}),
        Case("machine", "convolution", {"size": 8 if toy else 56}),
        Case("agreement", "gradients", {"images": small}),
    ]
    if inputs:
        run = {"run_dir": f"{inputs}/run", "records_dir": f"{inputs}/records"}
        listed.append(Case("agreement", "evaluation", run | {"work_dir": f"{work_dir}/evaluation"}))
    listed += _training(sizes, batches)
    many = [small] if toy else [16, 64, 256, 1024]
    for beam_size in (1, 3, 5)[: 2 if toy else 3]:
        for precision in ("bfloat16", "float32")[: 1 if toy else 2]:
            search = {"beam_size": beam_size, "precision": precision, "batches": many}
            listed.append(Case("searching", "ours", search))
        textbook = {"beam_size": beam_size, "images": small if toy else 64}
        listed.append(Case("searching", "textbook", textbook))
    listed.append(Case("encoding", "jpegs", {"images": 16 if toy else 4000}))
    encoders = ("nasnet_mobile",) if toy else ("nasnet_large", "nasnet_mobile", "efficientnet_v2_s")
    for name in encoders:
        for precision in ("float32", "bfloat16"):
            encoder = {"name": name, "precision": precision, "images": small if toy else 64}
            listed.append(Case("encoding", "encoder", encoder))
    return listed + (_whole(inputs, work_dir, 20 if toy else 400) if inputs else [])


def _training(sizes: list[str], batches: list[int]) -> list[Case]:
    listed = []
    for images in batches:
        for size in sizes:
            at = {"size": size, "images": images}
            listed.append(Case("training", "textbook", at | {"variant": "float32"}))
            for precision in ("bfloat16", "float32"):
                ours = at | {"precision": precision, "plain": True}
                listed.append(Case("training", "ours", ours))
            listed.append(Case("training", "textbook", at | {"variant": "autocast"}))
    if len(batches) == 1:
        return listed
    size, images = sizes[0], batches[0]
    first = {"size": size, "images": images}
    own = {"size": size, "images": 7, "captions": 32}  # the tutorial's batch
    listed += [Case("training", "textbook", own | {"variant": v}) for v in ("float32", "autocast")]
    for at in ({"size": size, "images": images} for images in batches for size in sizes):
        listed.append(Case("training", "textbook", at | {"variant": "compiled autocast"}))
    for variant in ("compiled", "graphs autocast"):
        listed.append(Case("training", "textbook", first | {"variant": variant}))
    for precision in ("bfloat16", "float32"):
        listed.append(Case("training", "ours", first | {"precision": precision, "plain": False}))
    theirs = {"precision": "float32", "plain": True, "recipe": False}
    return [*listed, Case("training", "ours", first | theirs)]


def _whole(inputs: str, work_dir: str, steps: int) -> list[Case]:
    settings = {
        "features from disk, bfloat16": ["features", "bfloat16", "0", "16"],
        "features in memory, bfloat16": ["features", "bfloat16", "4096", "16"],
        "features in memory, bfloat16, 64 images": ["features", "bfloat16", "4096", "64"],
        "images through the encoder, bfloat16": ["images", "bfloat16", "0", "16"],
    }
    return [
        Case(
            "whole",
            "training",
            {
                "name": name,
                "inputs": inputs,
                "work_dir": work_dir,
                "steps": steps,
                "flags": [
                    "--records_dir={inputs}/" + records,
                    f"--precision={precision}",
                    f"--cache_memory_mb={cache}",
                    f"--batch_size={images}",
                ],
            },
        )
        for name, (records, precision, cache, images) in settings.items()
    ]


class Runner:
    """Runs cases, a few at a time, and prints and keeps their rows.

    Args:
        output: the JSON file that is written after every case; empty writes none.
        jobs: cases that run at a time.
        case_seconds: after which a case is given up.
    """

    def __init__(self, output: str, jobs: int, case_seconds: float):
        self._output, self._jobs, self._case_seconds = output, jobs, case_seconds
        self._scratch = tempfile.mkdtemp()
        self._rows: list[dict[str, Any]] = []
        self._running: list[tuple[subprocess.Popen[bytes], Case, Path, float]] = []

    def run(self, listed: list[Case], seconds: float) -> None:
        """Run cases until all are done or the time is up.

        Args:
            listed: the cases.
            seconds: after which nothing new begins and what runs is given up.
        """
        end, part = time.monotonic() + seconds, ""
        for number, case in enumerate(listed):
            # A part's cases are told apart from the next part's: these may need the whole machine.
            while len(self._running) >= self._jobs or (case.part != part and self._running):
                self._collect(end)
            part = case.part
            if time.monotonic() > end:
                break
            self._start(number, case)
        while self._running:
            self._collect(end)

    def _start(self, number: int, case: Case) -> None:
        rows = Path(self._scratch, f"{number}.rows")
        rows.touch()
        environment = os.environ | {ROWS: str(rows), LOCK: os.path.join(self._scratch, "lock")}
        command = [sys.executable, "-m", "benchmarks.gpu", "--worker", json.dumps(case)]
        with open(f"{rows}.log", "wb") as log:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self._running.append((process, case, rows, time.monotonic()))

    def _collect(self, end: float) -> None:
        """Take the rows of cases that are done, and give up those that take too long."""
        time.sleep(0.05)
        for entry in list(self._running):
            process, case, rows, began = entry
            late = time.monotonic() > min(end, began + self._case_seconds)
            if process.poll() is None and not late:
                continue
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
            self._running.remove(entry)
            found = [json.loads(line) for line in rows.read_text().splitlines()]
            if process.returncode:
                tail = Path(f"{rows}.log").read_text(errors="replace").strip().splitlines()[-12:]
                why = "took too long" if late else f"failed with {process.returncode}"
                found.append({"case": f"{case.function} {case.arguments}: {why}", "log": tail})
            self._keep(case, found, time.monotonic() - began)

    def _keep(self, case: Case, found: list[dict[str, Any]], seconds: float) -> None:
        for row in found:
            row = {"part": case.part} | rounded(row)
            self._rows.append(row | {"case_seconds": round(seconds, 1)})
            values = {k: v for k, v in row.items() if k not in ("part", "case", "log")}
            print(
                f"{row['part']}: {row['case']}: " + ", ".join(f"{k} {v}" for k, v in values.items())
            )
            for line in row.get("log", []):
                print("    " + line[:300])
        sys.stdout.flush()
        if self._output:
            Path(self._output).write_text(json.dumps(self._rows, indent=1) + "\n")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--output", default="", help="JSON file to write after every case")
    parser.add_argument("--inputs", default="", help="folder that benchmarks.gpu.prepare made")
    parser.add_argument("--parts", default=",".join(PARTS), help="parts to run, with commas")
    parser.add_argument("--sizes", default="S,L", help="sizes of training (default: S,L)")
    parser.add_argument("--batches", default="16,64,256", help="images in a batch; one: a toy run")
    parser.add_argument("--jobs", type=int, default=4, help="cases at a time (default: 4)")
    parser.add_argument("--seconds", type=float, default=3600, help="time for all of it")
    parser.add_argument("--case_seconds", type=float, default=600, help="time for one case")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        case = Case(*options.worker)
        module = importlib.import_module(f"benchmarks.gpu.{case.part}")
        getattr(module, case.function)(**case.arguments)
        return
    parts = options.parts.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--parts={options.parts}: not all of them are in {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as work_dir:
        batches = [int(images) for images in options.batches.split(",")]
        listed = cases(options.inputs, work_dir, options.sizes.split(","), batches)
        runner = Runner(options.output, options.jobs, options.case_seconds)
        runner.run([case for case in listed if case.part in parts], options.seconds)


if __name__ == "__main__":
    main()
