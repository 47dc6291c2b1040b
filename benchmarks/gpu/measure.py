"""How a case is timed, and where its rows go. Nothing here loads TensorFlow or PyTorch."""

import contextlib
import fcntl
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

# Set by the parent process: the file that takes a case's rows, and the lock of the GPU.
ROWS, LOCK = "BENCHMARK_ROWS", "BENCHMARK_LOCK"
SECONDS = 1.5  # how long a case is timed at least, after its first calls
LEAST, MOST = 10, 300  # calls that are timed


def add_row(case: str, **values: Any) -> None:
    """Add a row to the results; the parent process prints it.

    Args:
        case: what was measured.
        values: what was found, by name.
    """
    with open(os.environ[ROWS], "a") as file:
        file.write(json.dumps({"case": case} | values) + "\n")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the GPU: other cases compile meanwhile, and are not measured."""
    with open(os.environ[LOCK], "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def timed(step: Callable[[], object], seconds: float = SECONDS) -> dict[str, float]:
    """Time a function that waits for its result.

    Args:
        step: what to time. Its first call compiles, and is timed by itself.
        seconds: how long to time it.

    Returns:
        `first` in seconds; `ms`, `fastest_ms` and `slowest_ms` of a call (median, and the tenth of
        the calls that was fastest and slowest); `busy`, the share of the time in which the GPU
        computed something, in percent, if nvidia-smi tells.
    """
    began = time.perf_counter()
    step()
    first = time.perf_counter() - began
    step()
    with alone(), _busy() as busy:
        step()
        times: list[float] = []
        began = time.perf_counter()
        while len(times) < LEAST or (time.perf_counter() - began < seconds and len(times) < MOST):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    times.sort()
    tenth = len(times) // 10
    found = {"first": first, "ms": 1e3 * statistics.median(times)}
    found |= {"fastest_ms": 1e3 * times[tenth], "slowest_ms": 1e3 * times[-1 - tenth]}
    return found | ({"busy": statistics.mean(busy)} if busy else {})


@contextlib.contextmanager
def _busy() -> Iterator[list[float]]:
    """Collect the GPU's busy share, in percent, while the block runs."""
    shares: list[float] = []
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        process = subprocess.Popen(
            [*query, "-lms", "100"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except FileNotFoundError:
        yield shares
        return
    try:
        yield shares
    finally:
        process.terminate()
        lines = process.communicate()[0].split()
        shares += [float(line) for line in lines if line.isdecimal()][1:]  # the first is older


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with three significant digits."""
    return {
        name: float(f"{value:.3g}") if isinstance(value, float) else value
        for name, value in values.items()
    }
