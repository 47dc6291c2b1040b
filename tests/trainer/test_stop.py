"""What asks a training to save and end."""

import os
import signal

import pytest

from trainer.stop import Stop, StopRequestedError


@pytest.fixture(autouse=True)
def handlers():
    """Put back the handlers that a `Stop` replaces."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    # Should a test fail, a signal must not end the tests.
    signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_scheduler_and_a_closed_terminal_stop_a_training(number):
    stop = Stop()
    with pytest.raises(StopRequestedError):
        os.kill(os.getpid(), number)
    assert stop.requested


def test_nohup_is_respected():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.requested
