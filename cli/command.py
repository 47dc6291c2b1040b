"""How every command starts, fails and exits."""

import errno
import sys
from collections.abc import Callable, Sequence
from typing import Literal

from absl import flags

from cli import flagfile
from cli.errors import UsageError, UserError
from cli.output_streams import guarded_streams, use_utf8

# What a command does with arguments that are not its flags; `run` explains the values.
Others = Literal["refused", "positional", "passed"]
INTERRUPTED = 130
READER_GONE = 141
# What a full or read-only disk, permissions and `ulimit` answer to anything that is asked of them.
_REFUSALS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EIO, errno.ESTALE),
}
_HELP = ("--help", "-help", "--helpshort", "--helpfull")


def run(
    main: Callable[[flags.FlagValues, list[str]], int | None],
    define_flags: Callable[[flags.FlagValues], None],
    *,
    others: Others = "refused",
) -> None:
    """Parse the command line, call `main(values, rest)` and exit the process.

    The exit code is what `main` returns (None is 0), or

        1    the work failed: a `UserError`, printed as one line
        2    wrong usage: a `UsageError`, printed as one line
        130  interrupted
        141  the reader of the output closed it

    Args:
        main: Does the work. It takes the parsed flags and the other arguments.
        define_flags: Declares the command's flags in the values that it is given.
        others: What arguments that are no flag of this command mean. "refused": an error.
            "positional": they are files and the like; unknown flags are errors, and after `--` all
            are files. "passed": all of them, unknown flags included, go to `main`, which must
            refuse what it does not know.
    """
    use_utf8()
    with guarded_streams():
        try:
            code = main(*parse(sys.argv, define_flags, others=others))
            sys.stdout.flush()
            sys.exit(code)
        except UserError as error:
            # A file name may hold line breaks.
            print("error: " + r"\n".join(str(error).splitlines()), file=sys.stderr)
            sys.exit(error.exit_code)
        except BrokenPipeError:  # The reader closed the pipe: stop quietly.
            sys.exit(READER_GONE)
        except (MemoryError, OSError) as error:
            refusal = _refusal_of_the_machine(error)
            if not refusal:
                raise
            print(f"error: {refusal}; then run the same command again", file=sys.stderr)
            sys.exit(UserError.exit_code)
        except KeyboardInterrupt:
            print("error: interrupted; run the same command again to continue", file=sys.stderr)
            sys.exit(INTERRUPTED)


def _refusal_of_the_machine(error: MemoryError | OSError) -> str | None:
    """Return what the machine did not give, wherever it was asked for; None for another error."""
    if isinstance(error, MemoryError):
        return "memory is exhausted: free some, or raise its limit (`ulimit -v`)"
    reason = " ".join(str(error.strerror or error).split())
    if reason.startswith("No usable temporary directory"):
        return f"{reason}: let TMPDIR name a folder that can be written to"
    if error.errno not in _REFUSALS:
        return None
    place = f"{error.filename!r}: " if error.filename else ""
    return f"{place}{reason}: mend that (disk, permission or limit)"


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
    # An argument that is no flag does not end the flags: people give flags after files, too, and
    # Beam takes `--runner DirectRunner`.
    values.set_gnu_getopt(True)
    arguments = flagfile.expand(argv[1:])
    try:
        rest = values([argv[0], *arguments], known_only=others == "passed")[1:]
    except flags.Error as error:
        place = flagfile.place_of(str(error), arguments)
        raise UsageError(f"{place}{error} (--help lists the flags)") from None
    if rest and others == "refused":
        raise UsageError(f"unexpected argument {rest[0]!r}: this command takes flags only")
    return values, rest


def _help(values: flags.FlagValues) -> str:
    """Return what the command does, and its flags by the module that declares them."""
    sections = [(sys.modules["__main__"].__doc__ or "").strip()]
    for module in values.flags_by_module_dict():
        # absl knows the main module by the name of the program.
        title = "Flags" if module == sys.argv[0] else f"Flags of {module}"
        _, _, lines = values.module_help(module).partition(":\n")
        sections.append(f"{title}:\n{lines}")
    sections.append("--flagfile=FILE reads more flags from a file, one a line.")
    return "\n\n".join(sections)
