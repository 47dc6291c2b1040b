"""Import this before Beam: it keeps Beam's log off the terminal.

Beam logs every stage and prints every traceback several times. Errors reach the user without that:
as one line, or as the exception that ends the command.
"""

import logging

from cli import foreign_variables

logging.disable(logging.CRITICAL)
# Before gRPC is imported, whose processes all inherit this.
foreign_variables.connect_directly()
