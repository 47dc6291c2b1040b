"""What a command does with text that its output cannot hold, and when it cannot be written."""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from cli.errors import UserError

_RAW = "cli.raw_bytes"


def use_utf8() -> None:
    """Start this command again in Python's UTF-8 mode, where file names are not UTF-8 by default.

    That is so in a locale such as C when PYTHONUTF8=0 turns the mode off. Then neither a name
    from a JSON file nor a text file can be relied on. What the user's terminal takes stays as it
    is, and the worker processes inherit the mode.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return
    variables = {"PYTHONUTF8": "1"}
    if sys.stdout is not None and "PYTHONIOENCODING" not in os.environ:
        variables["PYTHONIOENCODING"] = sys.stdout.encoding
    if sys.stderr is not None and sys.stderr.fileno() != 2:
        os.dup2(sys.stderr.fileno(), 2)  # `cli.tensorflow_log` has moved it.
    program = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execve(sys.executable, program, os.environ | variables)


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Guard stdout and stderr for the length of a block.

    When stderr cannot be written (a log on a full disk), the messages are lost, but the work
    continues. When stdout cannot be written, a `UserError` says so. A reader that closed its pipe
    is a BrokenPipeError, as always.

    Text that the encoding of stdout cannot hold, such as a file name that is not UTF-8, goes out as
    the bytes that it has on the disk: a script finds the file again. On stderr it is escaped.
    """
    with open(os.devnull, "w") as nowhere:
        yield from _guarded(sys.stdout or nowhere, sys.stderr or nowhere)


def _guarded(*streams: TextIO) -> Iterator[None]:
    for stream, errors in zip(streams, (_RAW, "backslashreplace"), strict=True):
        # Others, such as those of a test, are not ours to change.
        if isinstance(stream, io.TextIOWrapper) and stream in (sys.__stdout__, sys.__stderr__):
            stream.reconfigure(errors=errors)
    stdout = cast(TextIO, _Stream(streams[0], _refuse))
    stderr = cast(TextIO, _Stream(streams[1], lambda error: None))
    last_stderr: TextIO | None = None
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                yield
            finally:
                last_stderr = sys.stderr
                for stream in streams:
                    try:
                        stream.flush()
                    except OSError:  # Python's own flush at exit must not fail again.
                        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    finally:
        # `cli.tensorflow_log` may have moved it; a traceback must not go to the old descriptor.
        if last_stderr is not None and last_stderr is not stderr:
            sys.stderr = last_stderr


def _raw_bytes(error: UnicodeError) -> tuple[bytes, int]:
    """Encode what an encoding cannot hold: a name's bytes as they are, other text in UTF-8."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    try:
        return text.encode("utf-8", "surrogateescape"), error.end
    except UnicodeEncodeError:  # Half a pair of surrogates, as a JSON file may hold.
        return text.encode("utf-8", "backslashreplace"), error.end


codecs.register_error(_RAW, _raw_bytes)


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
