"""Files by way of Beam's file systems: local paths, gs://, s3://, hdfs:// alike."""

import contextlib
import errno
import fcntl
import os
import posixpath
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes, FileSystem
from apache_beam.io.filesystems import FileSystems

from cli.errors import UserError
from records.manifest import TEMPORARY_PREFIX

# Where no lock tells whether a temporary's owner is alive, its age does.
STALE_SECONDS = 24 * 3600
# Bytes written before the disk is asked to take them.
SYNC_BYTES = 16 << 20
# Written at once: Linux takes large writes faster than an image's 160 KB at a time.
_BUFFER_BYTES = 512 << 10
# A path that names no file: as good as absent. (EINVAL, ELOOP: names that cannot be.)
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP}


def is_local(path: str) -> bool:
    """Whether `path` lies in a file system of this machine."""
    return FileSystems.get_scheme(path) is None


# What is to be installed for which scheme.
_PACKAGES = {"s3": "captioner[aws]", "gs": "apache-beam[gcp]", "azfs": "apache-beam[azure]"}


def _system(path: str) -> FileSystem:
    """Beam's file system for a path that is not local.

    Raises:
        UserError: it is not installed, or there is none; or the path has no bucket.
    """
    scheme = FileSystems.get_scheme(path)
    try:
        if scheme == "s3":
            import pipeline.storage.s3  # noqa: F401
        system = FileSystems.get_filesystem(path)
    except (ImportError, ValueError):
        package = _PACKAGES.get(scheme, "apache-beam's part for it")
        raise UserError(f"{path}: {scheme}:// cannot be used: pip install {package!r}") from None
    if not re.match("[^:]+://[^/]+", path):
        raise UserError(f"{path}: expected {scheme}://BUCKET/FOLDER")
    return system


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
    return _system(path).open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def read(path: str) -> bytes | None:
    """The content of a file, None where there is no such file.

    Raises:
        UserError: it is there and cannot be read.
    """
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        if _missing(path, error):
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
        return _system(path).size(path)
    except OSError as error:
        if _missing(path, error):
            return None
        raise UserError(f"{path}: cannot be read: {reason(error)}") from None
    except ValueError:
        return None


def exists(path: str) -> bool:
    """Whether a file or folder is there.

    Raises:
        UserError: the file system does not say.
    """
    if is_local(path):
        return os.path.exists(path)
    system = _system(path)
    try:
        # Object stores have no folders but what lies in them.
        inside = f"{_pattern(path)}/**"
        return system.exists(path) or bool(system.match([inside], [1])[0].metadata_list)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from None


def _missing(path: str, error: OSError) -> bool:
    """Whether reading failed since there is no such file."""
    if is_local(path):
        return error.errno in _ABSENT
    if isinstance(error, FileNotFoundError):
        return True
    with contextlib.suppress(OSError):
        return not _system(path).exists(path)
    return False


def _pattern(directory: str) -> str:
    """What matches `directory` itself, whatever characters are in its name."""
    return re.sub(r"([*?[])", r"[\1]", directory.rstrip("/"))


def names(directory: str) -> list[str]:
    """The sorted names of what lies in `directory`; none where it is missing.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        if is_local(directory):
            return sorted(os.listdir(directory))
        (matched,) = _system(directory).match([f"{_pattern(directory)}/*"])
        return sorted(posixpath.basename(found.path) for found in matched.metadata_list)
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
            return
        system = _system(directory)
        if system.has_dirs() and not system.exists(directory):
            system.mkdirs(directory)
    except OSError as error:
        raise UserError(f"{directory}: cannot be made: {reason(error)}") from None


def delete(path: str) -> None:
    """Delete a file if it is there.

    Raises:
        UserError: it is there and cannot be deleted.
    """
    try:
        if not is_local(path):
            _system(path).delete([path])
        elif os.path.lexists(path):
            os.remove(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if is_local(path) or not _missing(path, error):
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


class _WriteBehind:
    """A file whose bytes go to the disk while more of them are made: little is left to wait for
    at the end, when all of them must be there."""

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
        self._sync.result()  # a full disk may be noticed late
        self._file.flush()
        self._sync = self._disk.submit(os.fsync, self._file.fileno())
        self._waiting = 0


@contextlib.contextmanager
def _create_local(temporary: str, path: str) -> Iterator[BinaryIO]:
    with open(temporary, "xb", _BUFFER_BYTES) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with ThreadPoolExecutor(1) as disk:
                behind = _WriteBehind(file, disk)
                yield behind
                behind.finish()
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
    """Object stores make a file visible when it is closed; to rename is to copy and delete."""
    system = _system(path)
    try:
        with system.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
        system.rename([temporary], [path])
    except BaseException:
        with contextlib.suppress(OSError):
            system.delete([temporary])
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
    try:
        if not is_local(path):
            return time.time() - _system(path).last_updated(path) > STALE_SECONDS
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:  # locked by a living process, or gone
        return False


def reason(error: OSError) -> str:
    """What went wrong, in a few words on one line."""
    # Beam's own error tells which path met what.
    for met in (getattr(error, "exception_details", None) or {}).values():
        error = met
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    return " ".join(text.split())
