"""Failures that a command explains in one line."""


class UserError(Exception):
    """The work cannot go on, for a reason that the user can mend.

    Its message is one line that names the place, what was expected, what was found and the remedy.
    Every command prints it as `error: <line>`, without a traceback.

    Attributes:
        exit_code: The command's exit code.
    """

    exit_code = 1


class UsageError(UserError):
    """The command line is wrong: an unknown flag, a value out of range, a contradiction."""

    exit_code = 2
