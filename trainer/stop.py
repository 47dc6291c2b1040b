"""SIGTERM: the request to save and end that a scheduler sends before it kills.

A terminal that is closed sends SIGHUP, which means the same, unless `nohup` lets it be ignored.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

STOPPED = 75  # exit code of a run that was stopped and resumes when its command is given again


class StopRequestedError(Exception):
    """SIGTERM was received."""


class Stop:
    """Handles SIGTERM for as long as the process runs.

    SIGTERM raises `StopRequestedError` at once where only work that can be repeated is lost, such
    as reading features or validating. Inside `held` it is only noted, so that a step or a
    checkpoint is finished first.

    Attributes:
        requested: Whether SIGTERM was received.
    """

    def __init__(self) -> None:
        self._held, self.requested = False, False
        signal.signal(signal.SIGTERM, self._on_sigterm)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_sigterm)

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested:  # a second SIGTERM must not interrupt the saving
            self.requested = True
            self.check()

    def check(self) -> None:
        """Stop here if SIGTERM was received and nothing holds it back.

        Raises:
            StopRequestedError: SIGTERM was received.
        """
        if self.requested and not self._held:
            raise StopRequestedError

    def hold(self) -> None:
        """Only note SIGTERM in `requested` from now on, for workers that must stop together."""
        self._held = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Finish the block before stopping.

        Raises:
            StopRequestedError: SIGTERM was received in the block.
        """
        with self._set(held=True):
            yield
        self.check()

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Leave the block at once on SIGTERM, also after `hold`, and raise nothing."""
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
