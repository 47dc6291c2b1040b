"""Measures cases, each in a process of its own and in turns, so that noise meets all of them."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from cli import processor


class Measurement(NamedTuple):
    """What the runs of one case took."""

    seconds: float  # median
    spread: float  # (slowest - fastest) / median
    peak_mb: float  # most memory held at once, of the process and its largest child: median
    n: float  # how much the case says it did: images, pairs, captions
    cores: float  # processor seconds per second, median; 0 where a case does not report it


def describe_machine() -> str:
    """Return the CPU's model, the cores that we may use, the class of its instructions, and GPUs.

    bfloat16 products are several times as fast as float32 ones with AMX, faster with AVX-512 BF16,
    and not faster in any other class.
    """
    kind = processor.instruction_class()
    gpus = "".join(f"; GPU: {name}" for name in _gpus())
    return f"CPU: {processor.model()}, {len(usable_cores())} cores; class: {kind}{gpus}"


def _gpus() -> list[str]:
    """Return the names of NVIDIA's GPUs, as their driver tells them."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextmanager
def clock(result: dict[str, Any]) -> Iterator[None]:
    """Put the seconds that the block takes into `result`; the process's start is not in them."""
    began = time.perf_counter()
    yield
    result["seconds"] = time.perf_counter() - began


def serve(cases: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """Be the measured process: run `CASE '{"argument": value}'` and print its result as JSON."""
    result = cases[sys.argv[1]](**json.loads(sys.argv[2]))
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    result["peak_mb"] = sum(u.ru_maxrss for u in usage) / 1024
    print("\n" + json.dumps(result), flush=True)


def interleaved(
    module: str, cases: Mapping[str, tuple[str, dict[str, Any]]], repeats: int, cpus: Sequence[int]
) -> dict[str, Measurement]:
    """Measure cases in turns.

    Args:
        module: calls `serve`.
        cases: label -> (case of `module`, its arguments).
        repeats: runs of each case.
        cpus: cores that the processes may use.

    Returns:
        Label -> measurement.
    """
    runs: dict[str, list[dict[str, Any]]] = {label: [] for label in cases}
    with tqdm(total=repeats * len(cases), unit="run", file=sys.stderr) as progress:
        for _ in range(repeats):
            for label, (case, arguments) in cases.items():
                progress.set_description(label)
                runs[label].append(_run(module, case, arguments, cpus))
                progress.update()
    return {label: _summary(results) for label, results in runs.items()}


def _run(module: str, case: str, arguments: dict[str, Any], cpus: Sequence[int]) -> dict[str, Any]:
    os.sync()  # this run must not wait for what the run before it wrote
    done = subprocess.run(
        [sys.executable, "-m", module, case, json.dumps(arguments)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    if done.returncode:
        sys.exit(f"error: {case} {arguments} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _summary(runs: Sequence[Mapping[str, Any]]) -> Measurement:
    seconds = [run["seconds"] for run in runs]
    median = statistics.median(seconds)
    spread = (max(seconds) - min(seconds)) / median
    peak = statistics.median(run["peak_mb"] for run in runs)
    cores = statistics.median(run.get("cores", 0) for run in runs)
    return Measurement(median, spread, peak, runs[0]["n"], cores)


def repeats_parser(purpose: str, default: int = 3) -> argparse.ArgumentParser:
    """Return a parser with the flag --repeats.

    Args:
        purpose: what --help says of the benchmark.
        default: runs of each case.
    """
    parser = argparse.ArgumentParser(description=purpose, allow_abbrev=False)
    parser.add_argument(
        "--repeats", type=int, default=default, help=f"runs of each case (default: {default})"
    )
    return parser


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows under a header as text, with numbers to the right."""
    cells = [list(map(str, header)), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells
    ]
    return "\n".join(["", title, lines[0], "-" * len(lines[0]), *lines[1:]])
