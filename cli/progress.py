"""The one way long work shows how far it is."""

import io
import sys

from tqdm import tqdm

_LOG_SECONDS = 10


class _Lines(io.StringIO):
    """Takes what tqdm draws over and over on one line of a terminal, and prints lines of it.

    They go to the stderr of its making: Beam's is turned away while a job runs.
    """

    def __init__(self):
        super().__init__()
        self._out = sys.stderr

    def write(self, text: str) -> int:
        line = text.strip("\r\n\x1b[A ")
        if line:
            print(line, file=self._out, flush=True)
        return len(text)


def bar(total: int, what: str, unit: str, initial: int = 0, scaled: bool = False) -> tqdm:
    """A progress bar on stderr with rate and ETA; in a log file, a line every ten seconds or so.

    Call arguments:
        total: how many units there are. what: says what goes on. unit: of one step.
        initial: units that an earlier run has done. scaled: show thousands as k, M, G.
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
        bar_format=None
        if terminal
        else "{desc}: {percentage:3.0f}% {n_fmt} of {total_fmt}"
        " [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    )
