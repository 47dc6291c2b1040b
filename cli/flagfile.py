"""Flagfiles: files that hold more flags, one a line."""

from collections.abc import Iterator, Sequence

from cli import paths
from cli.errors import UsageError

_FLAG = "--flagfile"


class FileArgument(str):
    """An argument that stands in a flagfile.

    Attributes:
        place: The file and the line, for error messages.
    """

    place = ""


def place_of(names: str, arguments: Sequence[str]) -> str:
    """Return `FILE, line N: ` for the last argument that gives a flag; "" where no file does.

    Args:
        names: An error message that names the flag as 'NAME' or --NAME=.
        arguments: What `expand` returned.
    """
    for argument in reversed(arguments):
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and (f"'{name}'" in names or f"--{name}=" in names):
            return f"{argument.place}: " if isinstance(argument, FileArgument) else ""
    return ""


def expand(arguments: Sequence[str]) -> list[str]:
    """Put the lines of flagfiles where the command line names them.

    Empty lines and lines that begin with # or // are left out. A flag and its value may be
    separated by = or by a space. A flagfile may name others.

    Args:
        arguments: Those of a command, without the program's name.

    Returns:
        The arguments without any --flagfile.

    Raises:
        UsageError: A flagfile cannot be read, or names itself.
    """
    return list(_expanded(list(arguments), ()))


def _expanded(arguments: list[str], inside: tuple[str, ...]) -> Iterator[str]:
    while arguments:
        argument = arguments.pop(0)
        if argument == "--":  # All that follows is no flag.
            yield argument
            yield from arguments
            return
        name, equals, path = argument.partition("=")
        if name.replace("-", "", 1) not in (_FLAG[1:], _FLAG[2:]) or not name.startswith("-"):
            yield argument
            continue
        if not equals:
            if not arguments:
                raise UsageError(f"{_FLAG} has no value: the path of a file with flags")
            path = arguments.pop(0)
        if path:
            yield from _expanded(_lines(paths.expand_user(path), inside), (*inside, path))


def _lines(path: str, inside: tuple[str, ...]) -> list[str]:
    """Return the arguments that the lines of a flagfile are."""
    if path in inside:
        raise UsageError(f"{_FLAG}={path}: names itself, through {' and '.join(inside)}")
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = [(number, line.strip()) for number, line in enumerate(file, 1)]
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"{_FLAG}={path}: cannot be read: {why}{paths.suggest(path)}") from None
    return [
        _argument(line, f"{path}, line {number}")
        for number, line in lines
        if line and not line.startswith(("#", "//"))
    ]


def _argument(line: str, place: str) -> str:
    """Return `--name=value` for `--name value`, with its place."""
    name, _, value = line.partition(" ")
    if value and name.startswith("-") and "=" not in name:
        line = f"{name}={value.strip()}"
    argument = FileArgument(line)
    argument.place = place
    return argument
