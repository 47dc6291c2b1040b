"""Import this before Beam: it keeps Beam's log off the terminal.

Beam logs every stage and prints every traceback several times. Errors reach the user without that:
as one line, or as the exception that ends the command.
"""

import logging
import threading

from cli import foreign_variables

logging.disable(logging.CRITICAL)
_excepthook = threading.excepthook


def _without_lost_connections(args: threading.ExceptHookArgs) -> None:
    """Print what a thread died of, unless it lost a connection: the job's end tells of that."""
    if not args.exc_type.__module__.startswith("grpc"):
        _excepthook(args)


threading.excepthook = _without_lost_connections
# Before gRPC is imported, whose processes all inherit this.
foreign_variables.connect_directly()
