"""How much memory this machine has, and how much of it a GPU."""

import subprocess
from collections.abc import Iterable

_MEMINFO = "/proc/meminfo"
# What a container may take, by the two versions of Linux' control groups.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_NVIDIA = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")


def total_bytes() -> int | None:
    """Return the memory that this process may have at most; None where the system does not say."""
    limits = [_meminfo("MemTotal"), *map(_read_number, _LIMITS)]
    return _least(limits)


def available_bytes() -> int | None:
    """Return the memory that no process takes now; None where the system does not say."""
    return _least([_meminfo("MemAvailable"), total_bytes()])


def gpu_bytes() -> int | None:
    """Return the memory of the smallest GPU; None where NVIDIA's driver does not say."""
    try:
        command = subprocess.run(_NVIDIA, capture_output=True, text=True, timeout=20)
        return _least(int(line) << 20 for line in command.stdout.split("\n") if line)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _meminfo(name: str) -> int | None:
    try:
        with open(_MEMINFO, encoding="utf-8") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields[name].split()[0]) << 10
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _read_number(path: str) -> int | None:
    try:
        with open(path, encoding="utf-8") as file:
            return int(file.read())  # "max" where there is no limit
    except (OSError, ValueError):
        return None


def _least(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)
