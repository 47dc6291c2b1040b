"""What a command does when its output cannot be written."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from cli.errors import UserError


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Guard stdout and stderr for the length of a block.

    When stderr cannot be written (a log on a full disk), the messages are lost, but the work
    continues. When stdout cannot be written, a `UserError` says so. A reader that closed its pipe
    is a BrokenPipeError, as always.
    """
    streams = sys.stdout, sys.stderr
    stdout, stderr = _Stream(sys.stdout, _refuse), _Stream(sys.stderr, lambda error: None)
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            yield
        finally:
            for stream in streams:
                try:
                    stream.flush()
                except OSError:  # Python's own flush at exit must not fail again.
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _refuse(error: OSError) -> None:
    raise UserError(f"standard output: cannot be written ({error.strerror or error})") from None


class _Stream:
    """A text stream that gives its OSErrors to `on_error`, except for a closed pipe."""

    def __init__(self, stream: TextIO, on_error: Callable[[OSError], None]):
        self._stream, self._on_error = stream, on_error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, work: Callable[..., object], *args: str) -> None:
        try:
            work(*args)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._on_error(error)
