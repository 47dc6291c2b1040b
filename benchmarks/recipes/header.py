"""The commands in the header of a flagfile, which tests and benchmarks run as they stand there.

A command is a comment line `python -m MODULE ...`. One that ends with a backslash goes on in the
next comment line.
"""

import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from cli.errors import UserError

_COMMAND = re.compile(r"python -m \S")
_FLAG = re.compile(r"--(\w+)(=.*)?", re.DOTALL)


def commands(flagfile: str | Path) -> list[list[str]]:
    """Return the commands in the header of a flagfile: its comments above the first flag.

    Args:
        flagfile: The file.

    Returns:
        For each line `#   python -m MODULE ...` the module and its arguments, in their order. A
        line that ends with a backslash goes on in the next comment.

    Raises:
        UserError: The file cannot be read, or a command is not one that a shell would take.
    """
    try:
        lines = Path(flagfile).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{flagfile}: cannot be read: {error}") from None
    listed: list[list[str]] = []
    text, began = "", 0
    for number, line in enumerate([*lines, ""], start=1):
        comment = line.strip()
        if not comment.startswith("#"):
            break
        comment = comment.removeprefix("#").strip()
        if not text:
            if not _COMMAND.match(comment):
                continue
            began = number
        text += comment.removesuffix("\\").strip() + " "
        if not comment.endswith("\\"):
            listed.append(_split(text, f"{flagfile}, line {began}"))
            text = ""
    if text:
        raise UserError(f"{flagfile}, line {began}: the command ends in a backslash: add the rest")
    return listed


def _split(text: str, place: str) -> list[str]:
    try:
        return shlex.split(text)[2:]
    except ValueError as error:
        raise UserError(f"{place}: no shell takes this command: {error}") from None


def arguments(flagfile: str | Path, module: str) -> list[str]:
    """Return the arguments of the header's first command of a module.

    Args:
        flagfile: The file.
        module: As "trainer.main".

    Raises:
        UserError: As `commands`, or the header has no such command.
    """
    for name, *rest in commands(flagfile):
        if name == module:
            return rest
    raise UserError(
        f"{flagfile}: its header has no line `#   python -m {module} ...`; add the command"
    )


def without(flags: Sequence[str], names: Collection[str]) -> list[str]:
    """Return arguments without the flags that are replaced.

    Args:
        flags: Arguments, each `--name` or `--name=value`.
        names: Names of flags.

    Raises:
        UserError: An argument has another form.
    """
    kept = []
    for argument in flags:
        match = _FLAG.fullmatch(argument)
        if not match:
            raise UserError(f"{argument!r} in a recipe's header: expected --name or --name=value")
        if match[1] not in names:
            kept.append(argument)
    return kept
