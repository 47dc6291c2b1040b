"""The server under load: throughput, latency and memory, for each bundle and runtime.

Run it with `make bench-serving BUNDLES=B1,B2` or `python -m benchmarks.serving --bundles=B1,B2`.
Each case is a server process of its own. The baseline of a runtime is the same server with
`--max_batch=1`, which computes one image at a time. The cases take turns for some rounds, so that a
slow moment of the machine meets all of them. The clients run in this process, on the same cores as
the server, and send the images over connections that they keep.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.measure import describe_machine

HOST = "127.0.0.1"
RUNTIMES = ("tensorflow", "litert")
MODES = {"batches": 16, "one at a time": 1}  # --max_batch
CLIENTS = (1, 8, 64)
QUEUE = 256  # pictures; the clients must never find it full
READY_SECONDS = 180


class Case(NamedTuple):
    """A server that is measured."""

    bundle: Path
    runtime: str
    mode: str

    def serves(self) -> bool:
        """Tell whether the case differs from the others: LiteRT knows no batches."""
        return self.runtime == "tensorflow" or self.mode == "one at a time"


class Load(NamedTuple):
    """What some clients saw in one round."""

    rate: float  # images/s
    latencies: list[float]  # seconds, of each answer
    refused: int  # answers other than 200


class Server(NamedTuple):
    """A running server."""

    process: subprocess.Popen
    port: int

    def resident_mb(self) -> float:
        """Return the memory that the process holds now, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


@contextlib.contextmanager
def running(case: Case) -> Iterator[Server]:
    """Start a server, wait until it is ready, and end it afterwards.

    Args:
        case: What to start.

    Yields:
        The server.
    """
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    flags = [f"--bundle={case.bundle}", f"--host={HOST}", f"--port={port}", f"--max_queue={QUEUE}"]
    flags += [f"--runtime={case.runtime}", f"--max_batch={MODES[case.mode]}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.server", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_ready(process, port, case)
        yield Server(process, port)
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(process: subprocess.Popen, port: int, case: Case) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=5).close()
            return
        time.sleep(0.2)
    raise SystemExit(
        f"error: the server of {case} did not become ready; start it by hand to see why"
    )


async def load(port: int, clients: int, bodies: list[bytes], seconds: float) -> Load:
    """Send images for some seconds.

    Args:
        port: Of the server.
        clients: How many send at the same time; each waits for its answer.
        bodies: The image files, which each client sends in an order of its own.
        seconds: How long no new image is held back.

    Returns:
        What the clients saw.
    """
    latencies: list[float] = []
    refused = 0
    began = time.perf_counter()

    async def client(number: int) -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection(HOST, port)
        turn = number
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            if await _post(reader, writer, bodies[turn % len(bodies)]) == 200:
                latencies.append(time.perf_counter() - sent)
            else:
                refused += 1
            turn += 1
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return Load(len(latencies) / (time.perf_counter() - began), latencies, refused)


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> int:
    """Send an image and read the whole answer; return its status."""
    head = f"POST /v1/captions HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
    length = next(line for line in lines if line.startswith("content-length:"))
    await reader.readexactly(int(length.partition(":")[2]))
    return int(lines[0].split()[1])


def measure(cases: list[Case], bodies: list[bytes], seconds: float, rounds: int) -> list[str]:
    """Measure all cases in turns.

    Args:
        cases: The servers; all of them run during the whole measurement.
        bodies: The image files.
        seconds: How long each number of clients sends in each round.
        rounds: How many rounds to make.

    Returns:
        A line of the table for each case and number of clients.
    """
    loads: dict[tuple[Case, int], list[Load]] = {}
    memory: dict[Case, float] = {}
    with contextlib.ExitStack() as stack:
        servers = {case: stack.enter_context(running(case)) for case in cases}
        for turn in range(rounds):
            for case, server in servers.items():
                print(f"round {turn + 1} of {rounds}: {_name(case)}", file=sys.stderr)
                for clients in CLIENTS:
                    seen = asyncio.run(load(server.port, clients, bodies, seconds))
                    loads.setdefault((case, clients), []).append(seen)
                memory[case] = server.resident_mb()
    return [_line(case, clients, loads, memory[case]) for case, clients in loads]


def _name(case: Case) -> str:
    mode = "" if case.runtime == "litert" else f", {case.mode}"
    return f"{case.bundle.name}: {case.runtime}{mode}"


def _line(
    case: Case, clients: int, loads: dict[tuple[Case, int], list[Load]], memory: float
) -> str:
    of_case = loads[case, clients]
    rate = statistics.median(load.rate for load in of_case)
    baseline = loads.get((case._replace(runtime="tensorflow", mode="one at a time"), clients))
    ratio = f"{rate / statistics.median(x.rate for x in baseline):.2f}" if baseline else "-"
    latencies = [latency for load in of_case for latency in load.latencies]
    p50, p99 = np.percentile(latencies, [50, 99]) if latencies else (float("nan"),) * 2
    refused = sum(load.refused for load in of_case)
    return (
        f"{_name(case):44}{clients:>8}{rate:>10.1f}{ratio:>17}{1000 * p50:>9.1f}{1000 * p99:>9.1f}"
        f"{p99 / p50:>9.1f}{memory:>8,.0f}{refused:>9}"
    )


def _bodies(bundles: list[Path], images: str) -> list[bytes]:
    """Return the image files to send: those of a folder, or the golden ones of the bundles."""
    if images:
        return [path.read_bytes() for path in sorted(Path(images).iterdir())[:64]]
    golden = [bundle / "golden" for bundle in bundles]
    names = [(folder, json.loads((folder / "golden.json").read_text())) for folder in golden]
    return [(folder / entry["file"]).read_bytes() for folder, entries in names for entry in entries]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundles", required=True, help="bundles, separated by commas")
    parser.add_argument(
        "--images", default="", help="folder of image files to send; the golden ones by default"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of each load")
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds in which the cases take turns"
    )
    options = parser.parse_args()
    bundles = [Path(name) for name in options.bundles.split(",")]
    for bundle in bundles:
        if not (bundle / "golden" / "golden.json").is_file():
            parser.error(f"--bundles: {str(bundle)!r} is no bundle; serving.export writes one")
    if options.images and not Path(options.images).is_dir():
        parser.error(f"--images: {options.images!r} is no folder")
    cases = [
        Case(bundle, runtime, mode) for bundle in bundles for runtime in RUNTIMES for mode in MODES
    ]
    lines = measure(
        [case for case in cases if case.serves()],
        _bodies(bundles, options.images),
        options.seconds,
        options.rounds,
    )
    print(describe_machine())
    print(
        f"{'bundle: runtime':44}{'clients':>8}{'images/s':>10}{'x one at a time':>17}{'p50 ms':>9}"
        f"{'p99 ms':>9}{'p99/p50':>9}{'MB':>8}{'refused':>9}"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
