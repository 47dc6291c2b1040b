"""Our training step against textbook ones, on one core: `make bench-train`.

Every contender is a process of its own on the same core. They take turns, a step each a round, so
that whatever the machine does meets all of them; the medians of the rounds are compared. Time is
the processor's, so that other work on the machine counts little.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

from benchmarks import train_cases
from benchmarks import train_work as work

LIKE, RECIPE = "textbook's model", "our recipe"
PRECISIONS = ("float32", "bfloat16")


def names(size: str) -> dict[str, tuple]:
    """Name -> what `_build` takes."""
    found = {f"PyTorch textbook {p}": ("textbook", size, p) for p in PRECISIONS}
    found["Keras RNN(cell) float32"] = ("keras_rnn", size)
    for recipe, model in ((False, LIKE), (True, RECIPE)):
        for p in PRECISIONS:
            found[f"ours {p}, {model}"] = ("ours", size, recipe, p)
    return found | {f"product {p}": ("product", p) for p in PRECISIONS}


def _build(kind: str, *args):
    if kind == "product":
        return train_cases.product(*args)
    size, *rest = args
    return getattr(train_cases, kind)(size, work.batch(size), *rest)


def worker(what: list) -> None:
    """Take a step for each line on stdin, and print what it took."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to stderr
    step = None
    for _ in sys.stdin:
        began = time.process_time()
        step = step or _build(*what)
        step()
        seconds = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([seconds, peak]), file=replies, flush=True)


class Contender:
    """A process that takes steps.

    Attributes:
        first: seconds of the first step, building the model included.
        seconds: of each later one.
        peak: MB.
    """

    def __init__(self, name: str, what: tuple):
        self.name, self.what, self.seconds = name, what, []
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.train", "--worker", json.dumps(what)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
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


def compete(size: str, rounds: int, only: str) -> dict[str, Contender]:
    """All contenders of a size, after so many rounds."""
    found = {}
    for name, what in names(size).items():
        if only in name or what[0] == "product":
            print(f"\r{size}: starting {name:40}", end="", file=sys.stderr, flush=True)
            found[name] = Contender(name, what)
    for number in range(rounds):
        print(f"\r{size}: round {number + 1} of {rounds:<40}", end="", file=sys.stderr, flush=True)
        for contender in found.values():
            contender.step()
    print(f"\r{'':70}\r", end="", file=sys.stderr, flush=True)
    for contender in found.values():
        contender.close()
    return found


HEADER = (
    f"{'':34}{'captions/s':>16}{'tokens/s':>10}{'GFLOP/s':>9}{'of peak':>9}"
    f"{'x textbook':>12}{'peak MB':>9}{'first s':>9}"
)


def table(size: str, found: dict[str, Contender]) -> str:
    """One line a contender."""
    batch = work.batch(size)
    captions, words = work.IMAGES * work.CAPTIONS, batch.words
    height, width, depth = work.SIZES[size]
    peaks = {p: train_cases.PRODUCT_GIGAFLOP / found[f"product {p}"].median for p in PRECISIONS}
    lines = [
        f"{size}: {height} x {width} x {depth} features, {work.IMAGES} images x {work.CAPTIONS}"
        f" captions, {words} words, V = {work.VOCABULARY:,}, U = {work.UNITS}; products reach"
        f" {peaks['float32']:.0f} GFLOP/s in float32, {peaks['bfloat16']:.0f} in bfloat16",
        HEADER,
    ]
    textbook = found.get("PyTorch textbook float32")
    for name, one in found.items():
        if one.what[0] == "product":
            continue
        precision = "bfloat16" if "bfloat16" in name else "float32"
        config = work.config(size, RECIPE in name, precision)
        rate = work.gigaflop(config, batch) / one.median
        low, high = (captions / quantile for quantile in (max(one.seconds), min(one.seconds)))
        ratio = f"{textbook.median / one.median:.1f}" if textbook else "-"
        spread = f"{captions / one.median:.0f} ({low:.0f}-{high:.0f})"
        lines.append(
            f"{name:34}{spread:>16}{words / one.median:>10,.0f}"
            f"{rate:>9.0f}{100 * rate / peaks[precision]:>8.0f}%{ratio:>12}"
            f"{one.peak:>9,.0f}{one.first:>9.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", default="S,L", help="of " + ", ".join(work.SIZES))
    parser.add_argument("--only", default="", help="contenders whose name has this in it")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print("One core, processor time; medians of interleaved steps (slowest-fastest).")
    for size in options.sizes.split(","):
        print("\n" + table(size, compete(size, options.rounds, options.only)), flush=True)


if __name__ == "__main__":
    main()
