"""Imported first by the commands: Beam's log stays off the terminal, from its import on.

Beam tells of every stage and prints every traceback several times; errors reach the user anyway, as
one line or as the exception that ends the command.
"""

import logging
import os

logging.disable(logging.CRITICAL)
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def undo() -> None:
    """Let Beam log again, for engines whose log is all that is seen of them."""
    logging.disable(logging.NOTSET)
