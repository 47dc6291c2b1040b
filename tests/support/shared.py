"""Folders that are made once and shared by all workers of pytest-xdist."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path


def make_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`, which the first process that asks for it makes; the others wait.

    A mark beside the folder says that it is complete. What a failed or killed `make` left is
    removed before the next attempt.

    Args:
        folder: the folder; its parent exists or can be made.
        make: writes the folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    complete = folder.with_name(f"{folder.name}.complete")
    with open(folder.with_name(f"{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            complete.touch()
    return folder


def file_stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the size and the time of change of every file in a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }
