"""Local files and folders that are there whole or not at all.

Each is written under a temporary name beside its place, `.tmp-<uuid>`, and renamed when it is
complete. Its living writer holds a lock on the temporary, so `sweep` can tell which temporaries a
killed process left behind.
"""

import contextlib
import ctypes
import fcntl
import io
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, StrPath

TEMPORARY_PREFIX = ".tmp-"
# Bytes written before the disk is asked to take them.
_SYNC_BYTES = 16 << 20
# Written at once: Linux takes large writes faster than an image's 160 KB at a time.
_BUFFER_BYTES = 512 << 10
# Of Linux' renameat2: the folder that paths begin at, the current one, and what to do with them.
_HERE, _RENAME_EXCHANGE = -100, 2
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + "[0-9a-f]{32}")


def temporary_beside(path: "StrPath") -> str:
    """Return a new name in the folder of `path` for what is not complete yet."""
    return os.path.join(os.path.dirname(os.fspath(path)), TEMPORARY_PREFIX + uuid.uuid4().hex)


def is_temporary(name: str) -> bool:
    """Return whether the last part of a path is a name that `temporary_beside` gives."""
    return bool(_TEMPORARY.fullmatch(name))


@contextlib.contextmanager
def create(path: "StrPath") -> Iterator[BinaryIO]:
    """Write a file that gets its name when the block ends, whole or not at all.

    Args:
        path: Where it goes; an earlier file there is replaced.

    Yields:
        A binary file to write and seek in. Its bytes are on the disk before it gets its name.

    Raises:
        OSError: As the file system gives it (disk full, no permission); `path` is untouched then
            and no temporary is left.
    """
    temporary, raw = _open_temporary(path)
    with ThreadPoolExecutor(1) as disk:  # Its thread starts with the first work, if ever.
        file = _WriteBehind(raw, disk)
        try:
            yield file
            file.finish()
            # While the file is open, its lock keeps `sweep` off until it has its name.
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise
        finally:
            # After a failure, what is left in the buffer would fail once more.
            with contextlib.suppress(OSError):
                file.close()


def write(path: "StrPath", content: bytes) -> None:
    """Write a small file whole or not at all.

    Args:
        path: Where it goes; an earlier file there is replaced.
        content: All of its bytes.

    Raises:
        OSError: As for `create`.
    """
    with create(path) as file:
        file.write(content)


@contextlib.contextmanager
def create_folder(path: "StrPath") -> Iterator[str]:
    """Fill a folder that gets its name when the block ends, whole or not at all.

    Args:
        path: Where it goes; an earlier folder there is replaced.

    Yields:
        The path of an empty folder to fill.

    Raises:
        OSError: As the file system gives it, or another process put something there meanwhile.
    """
    temporary, earlier = temporary_beside(path), temporary_beside(path)
    os.mkdir(temporary)
    try:
        with _locked_folder(temporary):
            yield temporary
            if not (os.path.exists(path) and _exchange(temporary, path)):
                _replace(path, temporary, earlier)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)


def _exchange(one: str, other: "StrPath") -> bool:
    """Exchange two folders in one step, so that no kill finds neither; False if that cannot be."""
    call = getattr(ctypes.CDLL(None), "renameat2", None)  # Linux; Python has no name for it.
    paths = os.fsencode(one), os.fsencode(other)
    return call is not None and call(_HERE, paths[0], _HERE, paths[1], _RENAME_EXCHANGE) == 0


def _replace(path: "StrPath", temporary: str, earlier: str) -> None:
    """Give a folder its name; an earlier folder of that name moves away, or back on an error."""
    if not os.path.exists(path):
        os.rename(temporary, path)
        return
    os.rename(path, earlier)
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(earlier, path)
        raise


def sweep(directory: "StrPath") -> None:
    """Delete the temporaries in a directory whose writer is dead.

    Args:
        directory: Where to look, not below it; it may be missing.

    Raises:
        OSError: The directory cannot be listed, or a temporary cannot be deleted.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in filter(is_temporary, names):
        _delete_if_abandoned(os.path.join(directory, name))


class _WriteBehind(io.BufferedWriter):
    """A file whose bytes go to the disk while more of them are made.

    Little is left to wait for at the end, when all of them must be there.
    """

    def __init__(self, raw: io.FileIO, disk: ThreadPoolExecutor):
        super().__init__(raw, _BUFFER_BYTES)
        self._disk = disk
        self._sync: Future[None] | None = None
        self._unsynced = 0

    def write(self, data: "ReadableBuffer", /) -> int:
        written = super().write(data)
        self._unsynced += written
        if self._unsynced >= _SYNC_BYTES and (self._sync is None or self._sync.done()):
            self._wait()
            self.flush()
            self._sync = self._disk.submit(os.fsync, self.fileno())
            self._unsynced = 0
        return written

    def finish(self) -> None:
        """Wait until all bytes are on the disk."""
        self._wait()
        self.flush()
        os.fsync(self.fileno())

    def _wait(self) -> None:
        if self._sync:
            self._sync.result()  # A full disk may show here first.


def _open_temporary(path: "StrPath") -> tuple[str, io.FileIO]:
    while True:
        temporary = temporary_beside(path)
        raw = io.FileIO(temporary, "x")
        _lock(raw.fileno())
        if os.path.exists(temporary):
            return temporary, raw
        raw.close()  # A sweep came between the two lines above and took it for abandoned.


@contextlib.contextmanager
def _locked_folder(path: str) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    # Some network file systems have no locks; nothing is ever swept there.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _delete_if_abandoned(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # It has got its name, or somebody else swept it.
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # Its writer is alive.
            return
        # Under the lock, so that a writer that has only just made it notices.
        with contextlib.suppress(FileNotFoundError):
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.remove(path)
    finally:
        os.close(descriptor)
