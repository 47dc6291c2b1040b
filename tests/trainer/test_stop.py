"""What asks a training to save and end."""

import os
import signal

import pytest

from trainer.stop import Stop, StopRequestedError


@pytest.fixture(autouse=True)
def handlers():
    """Put back the handlers that a `Stop` replaces."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    # Should a test fail, a signal must not end the tests.
    signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGHUP, 75), (signal.SIGINT, 130)]
)
def test_a_scheduler_a_closed_terminal_and_ctrl_c_stop_a_training(number, code):
    stop = Stop()
    with pytest.raises(StopRequestedError):
        os.kill(os.getpid(), number)
    assert (stop.requested, stop.exit_code) == (True, code)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_ctrl_c_ends_at_once(first):
    stop = Stop()
    with pytest.raises(KeyboardInterrupt), stop.held():
        os.kill(os.getpid(), first)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("nothing was interrupted")


def test_nohup_is_respected():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.requested
