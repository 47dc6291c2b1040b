"""The log: one JSON line on stderr for each request, and for each failure of the server's own.

A line never holds bytes of an image, nor a header but the request's id.
"""

import dataclasses
import datetime
import json
import logging
import re
import secrets
import sys
import time
from collections.abc import MutableMapping
from typing import Any

_ENTRY = "captioner.entry"
_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_MAX_PATH = 200
LOGGER = logging.getLogger("captioner.server")


@dataclasses.dataclass
class Entry:
    """What the log will say of a request.

    Attributes:
        id: The client's own id of the request, or a new one.
        images: How many images it has.
        reason: Why it was refused: a code of the API.
        status: The status of the answer; 499 where the client did not wait for it.
        started: Seconds on the clock of `time.perf_counter`.
    """

    id: str
    images: int = 0
    reason: str | None = None
    status: int = 499
    started: float = dataclasses.field(default_factory=time.perf_counter)

    def milliseconds(self) -> float:
        """Return how long the request has taken so far."""
        return round((time.perf_counter() - self.started) * 1000, 1)


def open_entry(scope: MutableMapping[str, Any], sent_id: str) -> Entry:
    """Return a new entry for the request of an ASGI scope, and keep it there.

    Args:
        scope: The ASGI scope of a request.
        sent_id: The id that the client sent, or nothing. It is taken where it is short and plain.
    """
    entry = Entry(sent_id if _ID.fullmatch(sent_id) else secrets.token_hex(8))
    scope[_ENTRY] = entry
    return entry


def entry_of(scope: MutableMapping[str, Any]) -> Entry:
    """Return the entry of a request."""
    entry: Entry = scope[_ENTRY]
    return entry


def log_request(scope: MutableMapping[str, Any]) -> None:
    """Write the line of a request that has ended."""
    entry = entry_of(scope)
    line: dict[str, Any] = {
        "id": entry.id,
        "method": scope["method"],
        "path": scope["path"][:_MAX_PATH],
        "status": entry.status,
        "images": entry.images,
        "milliseconds": entry.milliseconds(),
    }
    if entry.reason:
        line["reason"] = entry.reason
    LOGGER.info("request", extra={"fields": line})


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        fields = getattr(record, "fields", None)
        line |= fields if fields else {"message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Stderr(logging.Handler):
    """Writes to what is stderr at the moment: TensorFlow's start moves it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except OSError:  # Nobody reads the log any more. Serve on.
            return


def configure() -> None:
    """Let this process log JSON lines on stderr: requests, failures, and what uvicorn warns of."""
    handler = _Stderr()
    handler.setFormatter(_JsonLines())
    for name, level in (
        (LOGGER.name, logging.INFO),
        ("uvicorn.error", logging.WARNING),
        ("asyncio", logging.WARNING),
    ):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    # It warns of each malformed form, which is the client's fault and has its own line.
    forms = logging.getLogger("python_multipart")
    forms.handlers, forms.propagate = [logging.NullHandler()], False
