"""Cases measured each in its own process, in turns, so that a noisy machine is noisy to all."""

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
from typing import Any, NamedTuple

from tqdm import tqdm


class Measured(NamedTuple):
    """What the runs of one case gave."""

    seconds: float  # median
    spread: float  # (slowest - fastest) / median
    peak_mb: float  # most memory held at once, of the process and its largest child: median
    n: float  # what the case says it did: images, pairs, captions
    cores: float  # processor seconds a second, median; 0 where a case does not say


@contextmanager
def clock(result: dict[str, Any]) -> Iterator[None]:
    """Note the seconds that the block takes, start-up of the process apart."""
    began = time.perf_counter()
    yield
    result["seconds"] = time.perf_counter() - began


def serve(cases: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """The measured process: `CASE '{"argument": value}'` -> what the case returns, as JSON."""
    result = cases[sys.argv[1]](**json.loads(sys.argv[2]))
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    result["peak_mb"] = sum(u.ru_maxrss for u in usage) / 1024
    print("\n" + json.dumps(result), flush=True)


def interleaved(
    module: str, cases: Mapping[str, tuple[str, dict[str, Any]]], repeats: int, cpus: Sequence[int]
) -> dict[str, Measured]:
    """Measure `cases` (label -> (case of `module`, its arguments)) in turns, `repeats` times.

    Call arguments:
        cpus: cores that the processes may use.
    """
    runs: dict[str, list[dict]] = {label: [] for label in cases}
    with tqdm(total=repeats * len(cases), unit="run", file=sys.stderr) as progress:
        for _ in range(repeats):
            for label, (case, arguments) in cases.items():
                progress.set_description(label)
                runs[label].append(_run(module, case, arguments, cpus))
                progress.update()
    return {label: _summary(found) for label, found in runs.items()}


def _run(module: str, case: str, arguments: dict[str, Any], cpus: Sequence[int]) -> dict[str, Any]:
    os.sync()  # what the last one wrote is not this one's to wait for
    done = subprocess.run(
        [sys.executable, "-m", module, case, json.dumps(arguments)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    if done.returncode:
        sys.exit(f"error: {case} {arguments} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _summary(runs: list[dict]) -> Measured:
    seconds = [run["seconds"] for run in runs]
    median = statistics.median(seconds)
    spread = (max(seconds) - min(seconds)) / median
    peak = statistics.median(run["peak_mb"] for run in runs)
    cores = statistics.median(run.get("cores", 0) for run in runs)
    return Measured(median, spread, peak, runs[0]["n"], cores)


def repeats_flag(default: int = 3) -> argparse.ArgumentParser:
    """The parser that every benchmark starts from."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--repeats", type=int, default=default, help="runs of each case")
    return parser


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows under a header, numbers to the right."""
    cells = [list(map(str, header)), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells
    ]
    return "\n".join(["", title, lines[0], "-" * len(lines[0]), *lines[1:]])
