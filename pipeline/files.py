"""Files by way of Beam's file systems: local paths, gs://, s3://, hdfs:// alike."""

import contextlib
import errno
import fcntl
import os
import posixpath
import time
import uuid
from collections.abc import Iterator
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from records.errors import UserError
from records.manifest import TEMPORARY_PREFIX

# Where no lock tells whether a temporary's owner is alive, its age does.
STALE_SECONDS = 24 * 3600
# A path that names no file: as good as absent. (EINVAL, ELOOP: names that cannot be.)
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP}


def is_local(path: str) -> bool:
    """Whether `path` lies in a file system of this machine."""
    return FileSystems.get_scheme(path) is None


def absolute(path: str) -> str:
    """`path` as it is understood from any working directory."""
    return os.path.abspath(path) if is_local(path) else path


def open_file(path: str) -> BinaryIO:
    """Open for reading; never decompressed, whatever the name says.

    Raises:
        OSError: as the file system gives it.
    """
    if is_local(path):
        return open(path, "rb")
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def read(path: str) -> bytes | None:
    """The content of a file, None where there is no such file.

    Raises:
        UserError: it is there and cannot be read.
    """
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        if not _there(path, error):
            return None
        raise UserError(f"{path}: cannot be read: {reason(error)}") from None
    except ValueError:  # a NUL in the name
        return None


def size(path: str) -> int | None:
    """Size in bytes, None where there is no such file.

    Raises:
        UserError: the file system does not say.
    """
    try:
        if is_local(path):
            return os.stat(path).st_size
        return FileSystems.get_filesystem(path).size(path)
    except OSError as error:
        if not _there(path, error):
            return None
        raise UserError(f"{path}: cannot be read: {reason(error)}") from None
    except ValueError:
        return None


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    return FileSystems.exists(path)


def _there(path: str, error: OSError) -> bool:
    if is_local(path):
        return error.errno not in _ABSENT
    return FileSystems.exists(path)


def names(directory: str) -> list[str]:
    """The sorted names of what lies in `directory`; none where it is missing.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        if is_local(directory):
            return sorted(os.listdir(directory))
        matched = FileSystems.match([posixpath.join(directory, "*")])[0].metadata_list
        return sorted(posixpath.basename(found.path) for found in matched)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{directory}: cannot be listed: {reason(error)}") from None


def make_directory(directory: str) -> None:
    """Make `directory` and its parents, where the file system knows such a thing.

    Raises:
        UserError: it cannot be made or is a file.
    """
    try:
        if is_local(directory):
            os.makedirs(directory, exist_ok=True)
        elif not FileSystems.exists(directory):
            FileSystems.mkdirs(directory)
    except OSError as error:
        raise UserError(f"{directory}: cannot be made: {reason(error)}") from None


def delete(path: str) -> None:
    """Delete a file if it is there.

    Raises:
        UserError: it is there and cannot be deleted.
    """
    try:
        if is_local(path) and os.path.lexists(path):
            os.remove(path)
        elif not is_local(path) and FileSystems.exists(path):
            FileSystems.delete([path])
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UserError(f"{path}: cannot be deleted: {reason(error)}") from None


@contextlib.contextmanager
def create(path: str) -> Iterator[BinaryIO]:
    """A file to write that gets its name `path` when the block ends, whole or not at all.

    Until then it is a unique temporary beside it, locked by this process.

    Raises:
        UserError: it cannot be written (disk full, no permission); `path` is untouched then.
    """
    temporary = posixpath.join(posixpath.dirname(path), TEMPORARY_PREFIX + uuid.uuid4().hex)
    writing = _create_local if is_local(path) else _create_remote
    try:
        with writing(temporary, path) as file:
            yield file
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written: {reason(error)}; what was finished before is kept,"
            " the same command goes on from there"
        ) from None


@contextlib.contextmanager
def _create_local(temporary: str, path: str) -> Iterator[BinaryIO]:
    with open(temporary, "xb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file
            file.flush()
            os.fsync(file.fileno())
            # While still open: the lock keeps `sweep` off until it has its name.
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            # What is left in the buffer would fail once more when the file is closed.
            with contextlib.suppress(OSError):
                file.close()
            raise


@contextlib.contextmanager
def _create_remote(temporary: str, path: str) -> Iterator[BinaryIO]:
    uncompressed = CompressionTypes.UNCOMPRESSED
    try:
        with FileSystems.create(temporary, compression_type=uncompressed) as file:
            yield file
        FileSystems.rename([temporary], [path])
    except BaseException:
        with contextlib.suppress(OSError):
            FileSystems.delete([temporary])
        raise


def write(path: str, content: bytes) -> None:
    """Write a small file whole or not at all; `create` says how and what it raises."""
    with create(path) as file:
        file.write(content)


def sweep(directory: str) -> None:
    """Delete the temporaries in `directory` whose owner is dead (elsewhere: which are old)."""
    for name in names(directory):
        if name.startswith(TEMPORARY_PREFIX):
            path = posixpath.join(directory, name)
            if _abandoned(path):
                delete(path)


def _abandoned(path: str) -> bool:
    if not is_local(path):
        updated = FileSystems.last_updated(path)
        return time.time() - updated > STALE_SECONDS
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:  # locked by a living process, or gone
        return False


def reason(error: OSError) -> str:
    """What went wrong, in a few words on one line."""
    return " ".join((error.strerror or str(error)).split())
