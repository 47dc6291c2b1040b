"""What tests of the server share."""

import logging

import pytest


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def log(caplog):
    """Return what the server logs. The job's command, where a test has imported it, disables it."""
    before = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    yield caplog
    logging.disable(before)
