"""How every command starts, fails and exits."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TextIO

from absl import flags

from cli.errors import UsageError, UserError

# What the arguments are allowed to be that are no flag of the command.
Others = Literal["refused", "positional", "passed"]
INTERRUPTED = 130
READER_GONE = 141
_HELP = ("--help", "-help", "--helpshort", "--helpfull")


def run(
    main: Callable[[flags.FlagValues, list[str]], int | None],
    define_flags: Callable[[flags.FlagValues], None],
    *,
    others: Others = "refused",
) -> None:
    """Parse the command line, call `main(values, rest)` and exit the process.

    The exit code is what `main` returns (None is 0); 1 when the work failed, 2 for wrong usage
    (both a `UserError`, printed as one line), 130 when interrupted, 141 when the reader of the
    output closed it. When stderr cannot be written (a log on a full disk), the messages are lost
    but the work goes on.

    Args:
        main: Does the work. It takes the parsed flags and the other arguments.
        define_flags: Declares the command's flags in the values that it is given.
        others: What arguments that are no flag of this command mean. "refused": an error.
            "positional": they are files and the like; unknown flags are errors. "passed": all of
            them, unknown flags included, go to `main`, which must refuse what it does not know.
    """
    with _guarded_streams():
        try:
            code = main(*parse(sys.argv, define_flags, others=others))
            sys.stdout.flush()
            sys.exit(code)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        except BrokenPipeError:  # The reader closed the pipe: stop quietly.
            sys.exit(READER_GONE)
        except KeyboardInterrupt:
            print("error: interrupted; run the same command again to go on", file=sys.stderr)
            sys.exit(INTERRUPTED)


def parse(
    argv: Sequence[str],
    define_flags: Callable[[flags.FlagValues], None],
    *,
    others: Others = "refused",
) -> tuple[flags.FlagValues, list[str]]:
    """Parse a command line, flagfiles included; print the help and exit when it asks for that.

    Args:
        argv: The program's name and its arguments.
        define_flags: As for `run`.
        others: As for `run`.

    Returns:
        The flags' values and the other arguments, without the program's name.

    Raises:
        UsageError: A flag is unknown or its value is wrong, or an argument is unexpected.
    """
    values = flags.FlagValues()
    define_flags(values)
    if any(argument in _HELP for argument in argv[1:]):
        print(_help(values))
        sys.exit(0)
    # Beam takes `--runner DirectRunner`: an argument that is no flag of ours must not end ours.
    values.set_gnu_getopt(others == "passed")
    try:
        rest = values(argv, known_only=others == "passed")[1:]
    except flags.Error as error:
        raise UsageError(f"{error} (--help lists the flags)") from None
    if rest and others == "refused":
        raise UsageError(f"unexpected argument {rest[0]!r}: this command takes flags only")
    return values, rest


def _help(values: flags.FlagValues) -> str:
    """Return what the command does, and its flags by the module that declares them."""
    sections = [(sys.modules["__main__"].__doc__ or "").strip()]
    for module in values.flags_by_module_dict():
        # absl calls the main module by the name of the program.
        title = "Flags" if module in ("__main__", sys.argv[0]) else f"Flags of {module}"
        _, _, lines = values.module_help(module).partition(":\n")
        sections.append(f"{title}:\n{lines}")
    sections.append("--flagfile=FILE reads more flags from a file, one a line.")
    return "\n\n".join(sections)


class _Stream:
    """A text stream that hands its failures to `failed`, but for a reader that is gone."""

    def __init__(self, stream: TextIO, failed: Callable[[OSError], None]):
        self._stream, self._failed = stream, failed

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
            self._failed(error)


def _no_output(error: OSError) -> None:
    raise UserError(f"standard output: cannot be written ({error.strerror or error})") from None


@contextlib.contextmanager
def _guarded_streams() -> Iterator[None]:
    """Drop what cannot be written to stderr; make a failing stdout a `UserError`."""
    streams = sys.stdout, sys.stderr
    out, err = _Stream(sys.stdout, _no_output), _Stream(sys.stderr, lambda error: None)
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            yield
        finally:
            for stream in streams:
                try:
                    stream.flush()
                except OSError:  # Python's own flush at exit must not fail again.
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
