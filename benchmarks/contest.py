"""Contenders that take turns on one core, each in a process of its own.

In turns, whatever the machine does meets all of them. Time is the processor's, so other work on the
machine counts little. A contender is described by a spec: a list that JSON can hold.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.measure import usable_cores

# What makes oneDNN, XLA, PyTorch and its MKL do without later instructions.
_CLASSES = {
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }
}
Step = Callable[[], object]
Spec = list[Any]


def parser(purpose: str, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the flags of a contest.

    With --worker the process is a contender's, and must call `serve`.

    Args:
        purpose: what --help says of the benchmark.
        rounds: default of --rounds.
    """
    flags = argparse.ArgumentParser(description=purpose, allow_abbrev=False)
    flags.add_argument(
        "--rounds", type=int, default=rounds, help=f"steps of each contender (default: {rounds})"
    )
    flags.add_argument("--only", default="", help="only contenders whose name contains this")
    flags.add_argument(
        "--cpu_class",
        choices=sorted(_CLASSES),
        help="let every contender do without later instructions (default: all that the CPU has)",
    )
    flags.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    return flags


def limit(cpu_class: str | None) -> None:
    """Let this process, and those that it starts, be a CPU of an earlier class.

    Args:
        cpu_class: the value of --cpu_class; None limits nothing.
    """
    for name, value in _CLASSES.get(cpu_class or "", {}).items():
        before = os.environ.get(name, "") if name == "XLA_FLAGS" else ""
        os.environ[name] = f"{before} {value}".strip()


def serve(build: Callable[[Spec], Step], spec: Spec) -> None:
    """Be a contender's process: take one step for each line on stdin, and answer with its cost.

    Args:
        build: returns the function that takes a step.
        spec: of the contender.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to stderr
    step = None
    for _ in sys.stdin:
        began = time.process_time()
        step = step or build(spec)
        step()
        seconds = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([seconds, peak]), file=replies, flush=True)


class Contender:
    """A process that takes steps.

    Attributes:
        name: as the table prints it.
        spec: what its module builds it from.
        first: processor seconds of the first step, with building the model.
        seconds: processor seconds of each step that counts.
        peak: most memory held at once, MB.
        process: the contender's own.
    """

    def __init__(self, module: str, name: str, spec: Spec):
        self.name, self.spec = name, spec
        self.seconds: list[float] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--worker", json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self.first = self._turn()
        self._turn()  # once more before it counts

    def _turn(self) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        if not reply:
            sys.exit(f"error: {self.name} ended with exit code {self.process.wait()}")
        seconds, self.peak = json.loads(reply)
        return seconds

    def step(self) -> None:
        """Take a step that counts."""
        self.seconds.append(self._turn())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()

    @property
    def median(self) -> float:
        """Processor seconds of a step."""
        return statistics.median(self.seconds)


def compete(module: str, specs: Mapping[str, Spec], rounds: int) -> dict[str, Contender]:
    """Let contenders take turns on the last of our cores.

    Args:
        module: whose command serves a contender.
        specs: name -> spec.
        rounds: steps of each contender.

    Returns:
        Name -> contender, with its times.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {usable_cores()[-1]})
    contenders = {}
    for name, spec in specs.items():
        _show_progress(f"starting {name}")
        contenders[name] = Contender(module, name, spec)
    for number in range(rounds):
        _show_progress(f"round {number + 1} of {rounds}")
        for contender in contenders.values():
            contender.step()
    _show_progress("")
    for contender in contenders.values():
        contender.close()
    return contenders


def _show_progress(line: str) -> None:
    print(f"\r{line:70}" + ("" if line else "\r"), end="", file=sys.stderr, flush=True)
