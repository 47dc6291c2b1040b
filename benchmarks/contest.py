"""Contenders that take turns on one core, each a process of its own, so that whatever the machine
does meets all of them. Time is the processor's: other work on the machine counts little."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping


def parser(purpose: str, rounds: int) -> argparse.ArgumentParser:
    """The flags of a contest; `worker` is given where `serve` is to be called."""
    flags = argparse.ArgumentParser(description=purpose)
    flags.add_argument("--rounds", type=int, default=rounds)
    flags.add_argument("--only", default="", help="contenders whose name has this in it")
    flags.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    return flags


def serve(build: Callable[[list], Callable[[], object]], what: list) -> None:
    """The contender's process: take a step of `build(what)` for each line on stdin."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to stderr
    step = None
    for _ in sys.stdin:
        began = time.process_time()
        step = step or build(what)
        step()
        seconds = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([seconds, peak]), file=replies, flush=True)


class Contender:
    """A process that takes steps.

    Attributes:
        what: what its module builds it from; JSON.
        first: seconds of the first step, building the model included.
        seconds: of each later one.
        peak: MB.
    """

    def __init__(self, module: str, name: str, what: list):
        self.name, self.what, self.seconds = name, what, []
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--worker", json.dumps(what)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self.first = self._turn()
        self._turn()  # and once more before it counts

    def _turn(self) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        if not reply:
            sys.exit(f"error: {self.name} ended with exit code {self.process.wait()}")
        seconds, self.peak = json.loads(reply)
        return seconds

    def step(self) -> None:
        """One step that counts."""
        self.seconds.append(self._turn())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()

    @property
    def median(self) -> float:
        """Seconds a step."""
        return statistics.median(self.seconds)


def compete(module: str, contenders: Mapping[str, list], rounds: int) -> dict[str, Contender]:
    """All contenders (name -> what), after so many rounds on the last of our cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = {}
    for name, what in contenders.items():
        _say(f"starting {name}")
        found[name] = Contender(module, name, what)
    for number in range(rounds):
        _say(f"round {number + 1} of {rounds}")
        for contender in found.values():
            contender.step()
    _say("")
    for contender in found.values():
        contender.close()
    return found


def _say(line: str) -> None:
    print(f"\r{line:70}" + ("" if line else "\r"), end="", file=sys.stderr, flush=True)
