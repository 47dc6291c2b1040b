"""The steps of a recipe, each a command in a process of its own, and which of them are done."""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import describe_machine
from cli import atomic_file
from cli.errors import UserError

# At most so much time of a process is not counted when both it and we are killed.
_TICK_SECONDS = 10
_STOPPED = (75, 130, 143)  # exit codes of a command that was asked to stop
_PR_SET_PDEATHSIG = 1


class StoppedError(UserError):
    """A command was asked to stop, and the benchmark stops with it."""

    exit_code = 75


class Steps:
    """What is done of a recipe: a JSON file beside its run, name of the step -> its state.

    Args:
        path: The file.
        handle: Descriptor of the recipe's lock. The processes hold it too, so that a process that
            outlives us keeps others out.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self._handle = path, handle
        try:
            self.states: dict[str, dict[str, Any]] = json.loads(path.read_text())
        except FileNotFoundError:
            self.states = {}
        except ValueError as error:
            raise UserError(
                f"{path}: damaged ({error}); remove it to do the recipe again"
            ) from None

    def is_done(self, name: str, inputs: Mapping[str, Any], product: Path) -> bool:
        """Return whether a step is done, from these inputs, and its product is still there."""
        state = self.states.get(name, {})
        return bool(state.get("done") and state["inputs"] == inputs and product.exists())

    def core_seconds(self, name: str) -> float | None:
        """Return the processor time of a step; None where some of its work was there before."""
        state = self.states[name]
        return None if state.get("begun_elsewhere") else state["core_seconds"]

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any],
        command: Sequence[str],
        begun_elsewhere: bool = False,
    ) -> None:
        """Run the command of a step, and keep its time and that it is done.

        Args:
            name: The step.
            inputs: All that its result depends on; must be JSON.
            command: A module and its arguments.
            begun_elsewhere: Whether some of its work is there already. That counts where it is the
                first time that the step runs.

        Raises:
            UserError: The command failed.
        """
        first = {"core_seconds": 0.0, "seconds": 0.0, "begun_elsewhere": begun_elsewhere}
        state = self.states.setdefault(name, first)
        state |= {"done": False, "inputs": inputs, "machine": describe_machine()}
        before, seconds_before = state["core_seconds"], state.get("seconds", 0.0)
        began = time.monotonic()

        def note(core_seconds: float) -> None:
            state["core_seconds"] = before + core_seconds
            state["seconds"] = seconds_before + time.monotonic() - began
            self._write()

        execute(command, self._handle, note)
        state["done"] = True
        self._write()

    def _write(self) -> None:
        atomic_file.write(self.path, json.dumps(self.states, indent=1).encode())


def execute(
    command: Sequence[str], handle: int, tick: Callable[[float], None] = lambda core_seconds: None
) -> None:
    """Run a module as a user would; stop it when we are stopped.

    Args:
        command: A module and its arguments.
        handle: Descriptor that the process inherits.
        tick: Called every few seconds and at the end, with the processor time that the command has
            used so far, seconds.

    Raises:
        StoppedError: It was asked to stop.
        UserError: It failed.
    """
    print(f"$ python -m {shlex.join(command)}", flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        pass_fds=[handle],
        process_group=0,  # Ctrl-C reaches us, and we pass it on once.
        preexec_fn=_end_with_parent,
    )
    of_others = _core_seconds_of_ended_processes()
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(_TICK_SECONDS)
                break
            tick(_core_seconds(process.pid))
    except BaseException:
        print(f"stopping: {command[0]} saves and ends", file=sys.stderr, flush=True)
        process.terminate()
        process.wait()
        raise
    finally:
        tick(_core_seconds_of_ended_processes() - of_others)
    if code in _STOPPED or code == -signal.SIGTERM:
        raise StoppedError(f"{command[0]} was stopped; run the same command again to continue")
    if code:
        raise UserError(f"{command[0]} failed (exit code {code}): its lines above say why")


def _core_seconds(process: int) -> float:
    """Return the processor time of a process and its ended children; 0 where there is no /proc."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0.0
    # The second field is a name in parentheses that may hold anything; fields 14 to 17 are times.
    times = text.rpartition(")")[2].split()[11:15]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def _core_seconds_of_ended_processes() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _end_with_parent() -> None:
    """Ask Linux to send this process SIGTERM when its parent is gone, however that ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Wait until no other process works on something, and hold its lock.

    Args:
        path: The lock's file; it stays.

    Yields:
        The descriptor of the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{path}: another process works there; waiting until it ends", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def checksum(path: Path) -> str:
    """Return the sha256 of a file; "" where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
