"""One process at a time in a folder: a lock that ends with its process, however it ends.

The lock (flock) is on a small file in the folder, which says who holds it. What counts is the lock
and not the file, so the file that a killed process leaves behind harms nobody.
"""

import contextlib
import errno
import fcntl
import functools
import json
import os
import socket
import sys
from collections.abc import Iterator

from cli.errors import UserError

LOCK = ".lock"
_HELD_BY_ANOTHER = (errno.EWOULDBLOCK, errno.EACCES)


def take(handle: int, kind: int, folder: str = "") -> bool:
    """Take a lock at once or not at all.

    Args:
        handle: Descriptor of what to lock.
        kind: `fcntl.LOCK_EX` or `fcntl.LOCK_SH`.
        folder: What the lock protects. Where its file system has no locks, a warning says so once;
            "" for no warning.

    Returns:
        False when another process holds the lock.
    """
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD_BY_ANOTHER:
            return False
        if folder:
            _warn(folder, error.strerror)
    return True


@functools.cache  # Once for each folder.
def _warn(folder: str, why: str) -> None:
    print(
        f"warning: {folder}: its file system has no locks ({why}); make sure that no other process"
        " writes there",
        file=sys.stderr,
    )


@contextlib.contextmanager
def only_process(folder: str, what: str, remedy: str, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a folder while the block runs; the folder is made where it is missing.

    Args:
        folder: The folder. It is removed again if nothing was put into it.
        what: What the process does there, as "training".
        remedy: What else the user can do, as "give another --run_dir".
        shared: Whether other processes that share the lock may hold it, too.

    Raises:
        UserError: Another process holds the lock, or the folder cannot be written.
    """
    path, made = os.path.join(folder, LOCK), _missing_folders(folder)
    try:
        try:
            os.makedirs(folder, exist_ok=True)
            handle = _open_locked(path, folder, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        except OSError as error:
            why = error.strerror or error
            raise UserError(f"{folder}: cannot be written ({why}); {remedy}") from None
        if handle is None:
            raise _refusal(path, folder, what, remedy)
        try:
            _write_owner(handle)
            yield
        finally:
            _remove(path, handle)
            os.close(handle)
    finally:
        for made_folder in made:
            with contextlib.suppress(OSError):  # Something lies in it.
                os.rmdir(made_folder)


def _missing_folders(folder: str) -> list[str]:
    """Return those of a folder and its parents that do not exist, the deepest first."""
    missing = []
    path = os.path.abspath(folder)
    while not os.path.exists(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def _open_locked(path: str, folder: str, kind: int) -> int | None:
    """Open the lock's file and lock it; return None when another process holds the lock."""
    while True:
        # Opened for writing: locks over NFS need that.
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not take(handle, kind, folder):
            os.close(handle)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(handle)):
                return handle
        os.close(handle)  # Its last holder removed it between the two lines above.


def _remove(path: str, handle: int) -> None:
    """Remove the lock's file, unless others share the lock: theirs must stay the one file."""
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.remove(path)


def _write_owner(handle: int) -> None:
    owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
    with contextlib.suppress(OSError):  # A full disk must not keep a run from ending well.
        os.ftruncate(handle, 0)
        os.pwrite(handle, owner.encode(), 0)


def _refusal(path: str, folder: str, what: str, remedy: str) -> UserError:
    try:
        with open(path, "rb") as file:
            owner = json.loads(file.read(1000))
        who = f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process"
    return UserError(
        f"{folder}: {who} is {what} there; wait until it has ended, stop it, or {remedy}"
    )
