"""Google's store: what its client raises, which is no OSError, is one line."""

import pytest
from apache_beam.io.filesystems import FileSystems

from cli.errors import UserError
from pipeline.storage import files

PATH = "gs://bucket/coco"


class RetryError(Exception):
    """As Google's client raises it when the network is away."""

    __module__ = "google.api_core.exceptions"


class Broken:
    """A file system whose every call ends with the same error."""

    def __init__(self, error: Exception):
        self._error = error

    def __getattr__(self, name: str):
        def call(*args, **options):
            raise self._error

        return call


def break_store(monkeypatch, error: Exception) -> None:
    monkeypatch.setattr(FileSystems, "get_filesystem", lambda path: Broken(error))


CALLS = {
    "cannot be read": [files.read, files.size, files.exists],
    "cannot be listed": [files.names],
    "cannot be made": [files.make_directory],
    "cannot be deleted": [files.delete],
    "cannot be swept": [files.sweep],
    "cannot be written": [lambda path: files.write(path, b"content")],
}


@pytest.mark.parametrize("problem", CALLS)
def test_an_error_of_the_store_is_one_line(monkeypatch, problem):
    break_store(monkeypatch, RetryError("Timeout of 120 s exceeded,\nlast exception: no such host"))
    for call in CALLS[problem]:
        with pytest.raises(UserError) as caught:
            call(PATH)
        line = f"{PATH}: {problem}: Timeout of 120 s exceeded, last exception: no such host"
        assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_opened_is_an_os_error(monkeypatch):
    break_store(monkeypatch, RetryError("no such host"))
    for opened in (files.open_file, files.open_random):
        with pytest.raises(OSError, match="no such host"):
            opened(PATH)


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    break_store(monkeypatch, ZeroDivisionError("a mistake"))
    with pytest.raises(ZeroDivisionError):
        files.exists(PATH)
