"""The file system of this machine."""

import contextlib
import errno
import os
from contextlib import AbstractContextManager
from typing import BinaryIO

from cli import atomic_file

# No file can be at such a path: it counts as absent. (EINVAL, ELOOP: impossible names.)
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP}


class LocalFiles:
    """Local files; `FileSystem` describes the methods."""

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        return open(path, "rb")

    def open_random(self, path: str) -> BinaryIO:
        """Open a file for reading pieces."""
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
        """Return the names of what is in `directory`; none when it is no directory."""
        try:
            return os.listdir(directory)
        except OSError as error:
            if error.errno in _ABSENT:
                return []
            raise

    def make_directory(self, directory: str) -> None:
        """Make `directory` and its parents."""
        os.makedirs(directory, exist_ok=True)

    def delete(self, path: str) -> None:
        """Delete a file if it exists."""
        if os.path.lexists(path):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    def create(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Open a temporary file that becomes `path`; this process locks it until then."""
        return atomic_file.create(path)

    def sweep(self, directory: str) -> None:
        """Delete the temporary files whose writer is dead: nobody locks them."""
        atomic_file.sweep(directory)
