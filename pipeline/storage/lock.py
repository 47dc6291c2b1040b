"""One job at a time in an output directory.

The lock (flock) is on the directory itself: there is no lock file that a killed job could leave
behind. The submitter of a job shares the lock with its workers. When a submitter is killed, the
next job waits until its workers have stopped writing.

Object stores have no locks. Two jobs with the same flags still end with one right result there,
because temporary files have unique names and the bytes of a shard do not depend on its writer.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from cli.errors import UserError
from cli.process_lock import take
from pipeline.storage import files

# Workers notice within a second or two that their submitter was killed.
_PATIENCE_SECONDS = 5
_POLL_SECONDS = 0.1


@contextlib.contextmanager
def only_job(directory: str, flag: str = "--output_dir") -> Iterator[None]:
    """Hold the lock of `directory` while the block runs. Workers of this job may share it.

    Args:
        directory: The directory; nothing is locked when it is not local.
        flag: The flag that names it, for the error message.

    Raises:
        UserError: Another job holds the lock.
    """
    if not files.is_local(directory):
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not take(handle, fcntl.LOCK_EX, directory):
            if time.monotonic() > deadline:
                raise _refusal(directory, flag)
            time.sleep(_POLL_SECONDS)
        # Nobody else holds the lock. A shared lock lets our workers in and keeps other jobs out.
        if not take(handle, fcntl.LOCK_SH, directory):
            raise _refusal(directory, flag)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def same_job(directory: str) -> Iterator[None]:
    """Share the submitter's lock while the block runs; the submitter may end before the block.

    Raises:
        UserError: Another job holds the lock: this job's submitter is dead.
    """
    if not files.is_local(directory):
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        if not take(handle, fcntl.LOCK_SH):
            raise _refusal(directory, "--output_dir")
        yield
    finally:
        os.close(handle)


def _refusal(directory: str, flag: str) -> UserError:
    return UserError(
        f"{directory}: another job is writing there; wait until it has ended, or give this job"
        f" another {flag}"
    )
