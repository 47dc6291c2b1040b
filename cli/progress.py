"""The progress bar of long work."""

import io
import sys
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

if TYPE_CHECKING:
    Bar = tqdm[NoReturn]  # No iterable. At run time the class takes no type arguments.

_LOG_SECONDS = 10
_LOG_FORMAT = (
    "{desc}: {percentage:3.0f}% {n_fmt} of {total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
)


def bar(total: int, what: str, unit: str, initial: int = 0, scaled: bool = False) -> "Bar":
    """Return a progress bar on stderr with rate and ETA.

    On a terminal it is redrawn in place; in a log file it is a line about every ten seconds.

    Args:
        total: How many units there are.
        what: What is being done, such as "writing".
        unit: Name of a unit, such as "images".
        initial: Units that an earlier run has done.
        scaled: Whether to show thousands as k, M, G.

    Returns:
        The bar; call `update` for finished units and use it in a `with` statement.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=what,
        unit=unit if scaled else f" {unit}",
        unit_scale=scaled,
        initial=initial,
        file=sys.stderr if terminal else _Lines(),
        dynamic_ncols=terminal,
        ncols=None if terminal else 100,
        mininterval=0.2 if terminal else _LOG_SECONDS,
        maxinterval=_LOG_SECONDS,
        smoothing=0.1,
        bar_format=None if terminal else _LOG_FORMAT,
    )


class _Lines(io.StringIO):
    """Prints each state of a bar as a line, where tqdm would redraw one line of a terminal.

    The lines go to the stderr of the time when the bar is made: Beam's is redirected while a job
    runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stderr = sys.stderr

    def write(self, text: str) -> int:
        line = text.strip("\r\n\x1b[A ")
        if line:
            print(line, file=self._stderr, flush=True)
        return len(text)
