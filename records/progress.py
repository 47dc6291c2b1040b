"""The one way long work shows how far it is."""

import sys

from tqdm import tqdm


def bar(total: int, what: str, unit: str, initial: int = 0) -> tqdm:
    """A progress bar on stderr with rate and ETA; in a log file, a line every ten seconds or so.

    Call arguments:
        total: how many units there are. what: says what goes on. unit: of one step.
        initial: units that an earlier run has done.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        unit_scale=False,
        initial=initial,
        dynamic_ncols=terminal,
        ncols=None if terminal else 100,
        mininterval=0.2 if terminal else 10.0,
        smoothing=0.1,
    )
