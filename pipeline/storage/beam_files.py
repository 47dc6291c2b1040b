"""The file systems that Beam has clients for: gs://, s3://, hdfs:// and others."""

import contextlib
import posixpath
import re
import time
from collections.abc import Iterator
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from cli import atomic_file
from cli.errors import UserError
from pipeline.storage.file_system import Writer

# No lock tells whether a temporary's writer is alive, so its age does.
STALE_SECONDS = 24 * 3600
# Least number of bytes that Google's store is asked for.
_CHUNK_BYTES = 64 << 10
# What to install for a scheme.
_PACKAGES = {"s3": "captioner[aws]", "gs": "captioner[gcp]", "azfs": "apache-beam[azure]"}


@contextlib.contextmanager
def _google_errors_as_os_errors() -> Iterator[None]:
    """Let the block raise OSError, as other file systems do, for what Google's client raises."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "google":
            raise
        raise OSError(str(error)) from None


class BeamFiles:
    """Files of one of Beam's file systems; `FileSystem` describes the methods."""

    def __init__(self, path: str):
        """Find the file system of `path`, which is not local.

        Raises:
            UserError: There is none, or it is not installed, or the path has no bucket.
        """
        self._scheme = scheme = FileSystems.get_scheme(path)
        try:
            if scheme == "s3":
                import pipeline.storage.s3  # noqa: F401
            self._system = FileSystems.get_filesystem(path)
        except (ImportError, ValueError):
            package = _PACKAGES.get(scheme, "apache-beam's part for it")
            raise UserError(
                f"{path}: {scheme}:// cannot be used: pip install {package!r}"
            ) from None
        if not re.match("[^:]+://[^/]+", path):
            raise UserError(f"{path}: expected {scheme}://BUCKET/FOLDER")

    @_google_errors_as_os_errors()
    def open(self, path: str) -> BinaryIO:
        """Open a file for reading. It is never decompressed, whatever its name says."""
        file: BinaryIO = self._system.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
        return file

    @_google_errors_as_os_errors()
    def open_random(self, path: str) -> BinaryIO:
        """Open a file for reading small pieces. Beam would fetch 16 MB for each of them."""
        if self._scheme == "s3":
            from pipeline.storage import s3

            return s3.open_random(path, self._system._options)  # Private API: apache-beam 2.77.
        if self._scheme == "gs":
            store = self._system._gcsIO()  # Private API: apache-beam 2.77.
            file: BinaryIO = store.open(path, read_buffer_size=_CHUNK_BYTES)
            return file
        return self.open(path)

    @_google_errors_as_os_errors()
    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None when there is no such file."""
        try:
            with self.open(path) as file:
                return file.read()
        except OSError as error:
            if self._is_missing(path, error):
                return None
            raise
        except ValueError:  # A bucket without an object: s3://bucket/
            return None

    @_google_errors_as_os_errors()
    def size(self, path: str) -> int | None:
        """Return the size of a file in bytes; None when there is no such file."""
        try:
            return int(self._system.size(path))
        except OSError as error:
            if self._is_missing(path, error):
                return None
            raise
        except ValueError:  # A bucket without an object: s3://bucket/
            return None

    @_google_errors_as_os_errors()
    def exists(self, path: str) -> bool:
        """Return whether `path` is a file, or a folder with something in it.

        An object store knows a folder only by what lies in it.
        """
        if self._system.exists(path):
            return True
        (matched,) = self._system.match([f"{_pattern(path)}/**"], [1])
        return bool(matched.metadata_list)

    @_google_errors_as_os_errors()
    def names(self, directory: str) -> list[str]:
        """Return the names of what is in `directory`; none when it is missing."""
        try:
            (matched,) = self._system.match([f"{_pattern(directory)}/*"])
        except FileNotFoundError:
            return []
        return [posixpath.basename(metadata.path) for metadata in matched.metadata_list]

    @_google_errors_as_os_errors()
    def make_directory(self, directory: str) -> None:
        """Make `directory` and its parents, if the file system has directories."""
        if self._system.has_dirs() and not self._system.exists(directory):
            self._system.mkdirs(directory)

    @_google_errors_as_os_errors()
    def delete(self, path: str) -> None:
        """Delete a file if it exists."""
        try:
            self._system.delete([path])
        except OSError as error:
            if not self._is_missing(path, error):
                raise

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[Writer]:
        """Open a temporary file that becomes `path`.

        Object stores show a file when it is closed, and rename by a copy and a deletion.
        """
        temporary = atomic_file.temporary_beside(path)
        uncompressed = CompressionTypes.UNCOMPRESSED
        with _google_errors_as_os_errors():
            try:
                with self._system.create(temporary, compression_type=uncompressed) as file:
                    yield file
                self._system.rename([temporary], [path])
            except BaseException:
                with contextlib.suppress(OSError):
                    self.delete(temporary)
                raise

    def sweep(self, directory: str) -> None:
        """Delete the temporary files that are too old for their writer to be alive."""
        for name in filter(atomic_file.is_temporary, self.names(directory)):
            temporary = posixpath.join(directory, name)
            if self._is_old(temporary):
                self.delete(temporary)

    def _is_old(self, temporary: str) -> bool:
        try:
            with _google_errors_as_os_errors():
                age = time.time() - self._system.last_updated(temporary)
        except OSError:  # It is gone.
            return False
        return bool(age > STALE_SECONDS)

    def _is_missing(self, path: str, error: OSError) -> bool:
        """Return whether an operation failed because there is no such file."""
        if isinstance(error, FileNotFoundError):
            return True
        with contextlib.suppress(OSError):
            return not self._system.exists(path)
        return False


def _pattern(directory: str) -> str:
    """Return a pattern that matches `directory` itself, whatever characters are in its name."""
    return re.sub(r"([*?[])", r"[\1]", directory.rstrip("/"))
