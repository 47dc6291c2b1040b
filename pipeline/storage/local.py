"""The file system of this machine."""

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from records.manifest import TEMPORARY_PREFIX

# Bytes written before the disk is asked to take them.
SYNC_BYTES = 16 << 20
# Linux takes large writes faster than an image's 160 KB at a time.
_BUFFER_BYTES = 512 << 10
# No file can be at such a path: it counts as absent. (EINVAL, ELOOP: impossible names.)
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP}


class LocalFiles:
    """Local files; `FileSystem` describes the methods."""

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        return open(path, "rb")

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None when there is no such file."""
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        except ValueError:  # A NUL in the name.
            return None

    def size(self, path: str) -> int | None:
        """Return the size of a file in bytes; None when there is no such file."""
        try:
            return os.stat(path).st_size
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        except ValueError:  # A NUL in the name.
            return None

    def exists(self, path: str) -> bool:
        """Return whether `path` is a file or folder."""
        return os.path.exists(path)

    def names(self, directory: str) -> list[str]:
        """Return the names of what is in `directory`; none when it is missing."""
        try:
            return os.listdir(directory)
        except FileNotFoundError:
            return []

    def make_directory(self, directory: str) -> None:
        """Make `directory` and its parents."""
        os.makedirs(directory, exist_ok=True)

    def delete(self, path: str) -> None:
        """Delete a file if it exists."""
        if os.path.lexists(path):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator["_WriteBehind"]:
        """Open a temporary file that becomes `path`; this process locks it until then."""
        temporary = os.path.join(os.path.dirname(path), TEMPORARY_PREFIX + uuid.uuid4().hex)
        with open(temporary, "xb", _BUFFER_BYTES) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with ThreadPoolExecutor(1) as disk:
                    behind = _WriteBehind(file, disk)
                    yield behind
                    behind.finish()
                # The file is still open: the lock keeps `files.sweep` off until it has its name.
                os.rename(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.remove(temporary)
                # Closing would try to write the rest of the buffer, and fail once more.
                with contextlib.suppress(OSError):
                    file.close()
                raise

    def is_abandoned(self, temporary: str) -> bool:
        """Return whether no living process holds the lock of the temporary file."""
        try:
            with open(temporary, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # Locked by a living process, or gone.
            return False
        return True


class _WriteBehind:
    """A file whose bytes go to the disk while more of them are made.

    All bytes must be on the disk at the end. Little is left to wait for then.
    """

    def __init__(self, file: BinaryIO, disk: ThreadPoolExecutor):
        self._file, self._disk = file, disk
        self._sync = disk.submit(lambda: None)
        self._waiting = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._waiting += len(data)
        if self._waiting >= SYNC_BYTES and self._sync.done():
            self._start_sync()

    def finish(self) -> None:
        """Wait until all bytes are on the disk."""
        self._sync.result()
        self._start_sync()
        self._sync.result()

    def _start_sync(self) -> None:
        self._sync.result()  # Raises what the last sync met: a full disk may be noticed late.
        self._file.flush()
        self._sync = self._disk.submit(os.fsync, self._file.fileno())
        self._waiting = 0
