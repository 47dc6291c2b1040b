"""What a command says when it cannot go on."""


class UserError(Exception):
    """A failure that one line explains: where, what was expected, what was found, what to do.

    Every command prints it as `error: <line>` and exits with `exit_code`, never a traceback.
    """

    exit_code = 1


class UsageError(UserError):
    """The command line is wrong: an unknown flag, a value out of range, two flags at odds."""

    exit_code = 2
