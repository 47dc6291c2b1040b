"""SIGTERM: a request to save and end, which a scheduler sends before it kills."""

import contextlib
import signal
from collections.abc import Iterator

STOPPED = 75  # the exit code: run the same command to go on


class StopRequestedError(Exception):
    """SIGTERM came."""


class Stop:
    """Takes SIGTERM from its making on.

    It is an exception at once, where only work that can be done again is lost (reading features,
    a validation), and inside `held` a note, so that a step or a checkpoint is finished first.
    """

    def __init__(self):
        self._held, self.requested = False, False
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, *_) -> None:
        if not self.requested:  # a second one would cut the saving short
            self.requested = True
            self.check()

    def check(self) -> None:
        """Stop here if it was requested and nothing holds it.

        Raises:
            StopRequestedError: it was.
        """
        if self.requested and not self._held:
            raise StopRequestedError

    def hold(self) -> None:
        """From now on it is a note in `requested`, for workers that must stop together."""
        self._held = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """What is begun in here is finished; then it stops if that was requested."""
        with self._set(held=True):
            yield
        self.check()

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """What is in here is left at once, after `hold` too, and not as an exception."""
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
