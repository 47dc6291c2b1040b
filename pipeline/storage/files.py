"""Files of the job, local or on any file system of Beam: gs://, s3://, hdfs://.

Every function but `open_file` raises a UserError that names the path and what went wrong.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from apache_beam.io.filesystems import FileSystems

from cli.errors import UserError
from pipeline.storage.beam_files import BeamFiles
from pipeline.storage.file_system import FileSystem, Writer
from pipeline.storage.local import LocalFiles

_LOCAL = LocalFiles()


def is_local(path: str) -> bool:
    """Return whether `path` is in a file system of this machine."""
    return FileSystems.get_scheme(path) is None


def _system(path: str) -> FileSystem:
    return _LOCAL if is_local(path) else BeamFiles(path)


def absolute(path: str) -> str:
    """Return `path` in a form that means the same in any working directory."""
    return os.path.abspath(path) if is_local(path) else path


def open_file(path: str) -> BinaryIO:
    """Open a file for reading. It is never decompressed, whatever its name says.

    Raises:
        OSError: What the file system raises.
    """
    return _system(path).open(path)


def open_random(path: str) -> BinaryIO:
    """Open a file for reading small pieces anywhere: little more is fetched than is asked for.

    Raises:
        OSError: What the file system raises.
    """
    return _system(path).open_random(path)


def read_piece(path: str, start: int, length: int) -> bytes:
    """Return `length` bytes of a file from `start` on; fewer at its end.

    Raises:
        UserError: The file cannot be read.
    """
    with _one_line(path, "cannot be read"), _system(path).open_random(path) as file:
        file.seek(start)
        return file.read(length)


def read(path: str) -> bytes | None:
    """Return the content of a file; None when there is no such file.

    Raises:
        UserError: The file exists and cannot be read.
    """
    with _one_line(path, "cannot be read"):
        return _system(path).read(path)


def size(path: str) -> int | None:
    """Return the size of a file in bytes; None when there is no such file.

    Raises:
        UserError: The file system does not answer.
    """
    with _one_line(path, "cannot be read"):
        return _system(path).size(path)


def exists(path: str) -> bool:
    """Return whether `path` is a file or folder.

    Raises:
        UserError: The file system does not answer.
    """
    with _one_line(path, "cannot be read"):
        return _system(path).exists(path)


def names(directory: str) -> list[str]:
    """Return the sorted names of what is in `directory`; none when it is no directory.

    Raises:
        UserError: It cannot be listed.
    """
    with _one_line(directory, "cannot be listed"):
        return sorted(_system(directory).names(directory))


def make_directory(directory: str) -> None:
    """Make `directory` and its parents, if the file system has directories.

    Raises:
        UserError: It cannot be made, or is a file.
    """
    with _one_line(directory, "cannot be made"):
        _system(directory).make_directory(directory)


def delete(path: str) -> None:
    """Delete a file if it exists.

    Raises:
        UserError: It exists and cannot be deleted.
    """
    with _one_line(path, "cannot be deleted"):
        _system(path).delete(path)


@contextlib.contextmanager
def create(path: str) -> Iterator[Writer]:
    """Open a file to write that gets its name `path` when the block ends, whole or not at all.

    Until then it is a temporary file with a unique name in the same folder.

    Raises:
        UserError: It cannot be written (disk full, no permission); `path` stays as it was.
    """
    try:
        with _system(path).create(path) as file:
            yield file
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written: {reason(error)}; what was finished before is kept,"
            " the same command continues from there"
        ) from None


def write(path: str, content: bytes) -> None:
    """Write a small file whole or not at all; `create` says more."""
    with create(path) as file:
        file.write(content)


def sweep(directory: str) -> None:
    """Delete the temporary files in `directory` that nobody writes any more.

    Raises:
        UserError: `directory` cannot be listed, or a file not deleted.
    """
    with _one_line(directory, "cannot be swept"):
        _system(directory).sweep(directory)


def reason(error: OSError) -> str:
    """Return what went wrong in a few words on one line."""
    # Beam's own error says which path met which error.
    for cause in (getattr(error, "exception_details", None) or {}).values():
        error = cause
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    return " ".join(text.split())


@contextlib.contextmanager
def _one_line(path: str, problem: str) -> Iterator[None]:
    """Turn an OSError of the block into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: {problem}: {reason(error)}") from None
