"""What the job asks of a file system."""

from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol


class Writer(Protocol):
    """A file that takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Append `data`."""


class FileSystem(Protocol):
    """Files by path. Every method raises OSError when the file system fails."""

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading; it must exist."""

    def open_random(self, path: str) -> BinaryIO:
        """Open a file for reading small pieces: little more is fetched than is asked for."""

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None when there is no such file."""

    def size(self, path: str) -> int | None:
        """Return the size of a file in bytes; None when there is no such file."""

    def exists(self, path: str) -> bool:
        """Return whether `path` is a file or folder."""

    def names(self, directory: str) -> list[str]:
        """Return the names of what is in `directory`; none when it is no directory."""

    def make_directory(self, directory: str) -> None:
        """Make `directory` and its parents, if the file system has directories."""

    def delete(self, path: str) -> None:
        """Delete a file if it exists."""

    def create(self, path: str) -> AbstractContextManager[Writer]:
        """Open a temporary file beside `path` that becomes `path` when the block ends.

        When the block raises, `path` stays as it was.
        """

    def sweep(self, directory: str) -> None:
        """Delete the temporary files of `create` in `directory` that nobody writes any more."""
