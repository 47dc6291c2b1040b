"""How every command starts, fails and exits. No flag is declared or read here."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from absl import flags

from cli.errors import UsageError, UserError


def run(
    main: Callable[[list[str]], int | None],
    *,
    others: str = "refused",
    failures: tuple[type[Exception], ...] = (),
) -> None:
    """Parse the flags, call `main(rest)` and exit the process.

    Call arguments:
        main: takes what is left of the command line once the flags are parsed (without the
            program's name); returns the exit code, None for 0.
        others: what arguments that are no flag of ours mean: "refused" (an error), "positional"
            (files, handed to `main`; unknown flags stay errors) or "passed" (all of them, flags
            included, are handed to `main`, which must refuse what it does not know).
        failures: exceptions besides `UserError` whose message is the line to print.

    Exits with 0 done, 1 the work failed, 2 wrong usage, 130 interrupted, 141 nobody
    reads the output any more, or what `main` returns. A stderr that cannot be written (a log on a
    full disk) costs what is said there, never the work.
    """
    with _streams():
        try:
            code = main(_parse(sys.argv, others))
            sys.stdout.flush()
            sys.exit(code)
        except (UserError, *failures) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(getattr(error, "exit_code", UserError.exit_code))
        except BrokenPipeError:  # whoever read our output has seen enough
            sys.exit(141)
        except KeyboardInterrupt:
            print("error: interrupted; run the same command again to go on", file=sys.stderr)
            sys.exit(130)


class _Stream:
    """A text stream that hands its failures to `failed`, but for a reader that is gone."""

    def __init__(self, stream: TextIO, failed: Callable[[OSError], None]):
        self._stream, self._failed = stream, failed

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, work: Callable, *args) -> None:
        try:
            work(*args)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._failed(error)


def _no_output(error: OSError) -> None:
    raise UserError(f"standard output: cannot be written ({error.strerror or error})") from None


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """What cannot be said on stderr is not said; what cannot be put out is a line."""
    streams = sys.stdout, sys.stderr
    out, err = _Stream(sys.stdout, _no_output), _Stream(sys.stderr, lambda error: None)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield
        finally:
            for stream in streams:
                try:
                    stream.flush()
                except OSError:  # Python's own flush at exit must not fail again
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parse(argv: Sequence[str], others: str) -> list[str]:
    if any(arg in ("--help", "-help", "--helpshort") for arg in argv[1:]):
        print(sys.modules["__main__"].__doc__ or "")
        print(flags.FLAGS.main_module_help())
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv, known_only=others == "passed")[1:]
    except flags.Error as error:
        raise UsageError(f"{error} (--help lists the flags)") from None
    if rest and others == "refused":
        raise UsageError(f"unexpected argument {rest[0]!r}: this command takes flags only")
    return rest
