"""SIGTERM and SIGINT: the requests to save and end of a scheduler and of Ctrl-C.

A terminal that is closed sends SIGHUP, which means the same, unless `nohup` lets it be ignored.
A second Ctrl-C ends the process at once.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from cli.command import INTERRUPTED

STOPPED = 75  # exit code of a run that was stopped and resumes when its command is given again


class StopRequestedError(Exception):
    """A request to stop, such as SIGTERM, was received."""


class Stop:
    """Handles SIGTERM, SIGHUP and SIGINT for as long as the process runs.

    A signal raises `StopRequestedError` at once where only work that can be repeated is lost, such
    as reading features or validating. Inside `held` it is only noted, so that a step or a
    checkpoint is finished first.

    Attributes:
        requested: Whether one of the signals was received.
        exit_code: That of a run that is stopped: 130 after Ctrl-C, else 75.
    """

    def __init__(self) -> None:
        self._held, self.requested, self.exit_code = False, False, STOPPED
        signal.signal(signal.SIGTERM, self._on_sigterm)
        for number, handler in (
            (signal.SIGHUP, self._on_sigterm),
            (signal.SIGINT, self._on_sigint),
        ):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # The second ends at once.
        if self.requested:
            raise KeyboardInterrupt
        self.exit_code = INTERRUPTED
        self._on_sigterm(number, frame)

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested:  # a second SIGTERM must not interrupt the saving
            self.requested = True
            self.check()

    def check(self) -> None:
        """Stop here if a signal was received and nothing holds it back.

        Raises:
            StopRequestedError: A signal was received.
        """
        if self.requested and not self._held:
            raise StopRequestedError

    def hold(self) -> None:
        """Only note a signal in `requested` from now on, for workers that must stop together."""
        self._held = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Finish the block before stopping.

        Raises:
            StopRequestedError: A signal was received in the block.
        """
        with self._set(held=True):
            yield
        self.check()

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Leave the block at once on a signal, also after `hold`, and raise nothing."""
        with contextlib.suppress(StopRequestedError), self._set(held=False):
            self.check()
            yield

    @contextlib.contextmanager
    def _set(self, held: bool) -> Iterator[None]:
        before, self._held = self._held, held
        try:
            yield
        finally:
            self._held = before
