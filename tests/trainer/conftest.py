"""Fixtures of the trainer's tests."""

import pytest


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """A function that makes a `CountingRun` in a new folder; arguments as for its constructor."""
    from tests.support.counting_run import CountingRun

    return lambda *args, **changes: CountingRun(tmp_path / "run", monkeypatch, *args, **changes)
