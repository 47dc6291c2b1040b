"""One job at a time in an output directory.

The lock lies on the directory itself (flock), so no file tells of it and a killed job leaves none
behind. A job's submitter shares it with its workers: what those of a killed submitter still write
is over before the next job begins. Object stores know no locks; two jobs with the same flags end
with one right result there too, since temporaries are unique and a shard's bytes do not depend on
who writes them.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator

from cli.errors import UserError
from pipeline.storage import files

# Workers of a killed submitter notice within a second or two that it is gone.
_PATIENCE_SECONDS = 5
_POLL_SECONDS = 0.1


@contextlib.contextmanager
def only_job(directory: str, flag: str = "--output_dir") -> Iterator[None]:
    """Hold `directory`, which `flag` names, while the block runs: against every other job, that is,
    not against this one's workers.

    Raises:
        UserError: another job holds it.
    """
    if not files.is_local(directory):
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _take(handle, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise _refusal(directory, flag)
            time.sleep(_POLL_SECONDS)
        # Nobody else holds it. From here on it is shared with our workers, which keeps others out.
        if not _take(handle, fcntl.LOCK_SH):
            raise _refusal(directory, flag)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def same_job(directory: str) -> Iterator[None]:
    """Share the submitter's lock while the block runs, which may be longer than the submitter does.

    Raises:
        UserError: another job holds it: the submitter is dead.
    """
    if not files.is_local(directory):
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        if not _take(handle, fcntl.LOCK_SH):
            raise _refusal(directory, "--output_dir")
        yield
    finally:
        os.close(handle)


def _take(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        # Others than these: a file system that has no such locks (NFS, for directories).
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _refusal(directory: str, flag: str) -> UserError:
    return UserError(
        f"{directory}: another job is writing there; wait until it has ended, or give this one"
        f" another {flag}"
    )
