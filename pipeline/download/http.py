"""Fetch a large file over HTTP in as many requests as it takes, no byte twice."""

import contextlib
import http.client
import os
import posixpath
import re
import sys
import time
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import urllib3
from tqdm import tqdm

from cli.errors import UserError
from cli.progress import bar

_CHUNK = 1 << 20
_TIMEOUT = (30, 60)  # Seconds: to connect, and between two chunks.
_TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}
# Give up after so many failures in a row: while nothing has arrived, and later.
_MAX_FAILURES, _MAX_FAILURES_LATER = 4, 10
_MAX_WAIT = 600  # Seconds.
_CUT = "the connection was cut"


class _TransientError(Exception):
    """A failure that may go away. `wait`: seconds to wait that the server asked for, or None."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


def fetch(url: str, path: str, size: int) -> None:
    """Fetch the file at `url` into `path`, continuing what an earlier call left there.

    Cut connections, overloaded servers and network failures of some minutes are retried. The file
    `path` + ".from" notes which version of the file `path` is a part of, if the server names
    versions.

    Args:
        url: The file to fetch.
        path: Where to put it.
        size: Its size in bytes.

    Raises:
        UserError: The server has no such file, or one of another size, or fails for too long.
        OSError: `path` cannot be written; what is written stays.
    """
    started = furthest = size_of(path)
    failures = 0
    with bar(size, f"fetching {posixpath.basename(url)}", "B", started, scaled=True) as progress:
        while size_of(path) < size:
            try:
                _fetch_rest(url, path, size, progress)
            except _TransientError as failure:
                if size_of(path) > furthest:
                    furthest, failures = size_of(path), 0
                failures += 1
                if failures == (_MAX_FAILURES_LATER if furthest > started else _MAX_FAILURES):
                    times = f"{failures} times in a row"
                    raise UserError(f"{url}: {failure} ({times})") from None
                wait = 2.0 ** (failures - 1) if failure.wait is None else failure.wait
                wait = min(wait, _MAX_WAIT)
                progress.set_postfix_str(f"{failure}; again in {wait:.0f} s")
                time.sleep(wait)
                progress.set_postfix_str("", refresh=False)
    with contextlib.suppress(FileNotFoundError):
        os.remove(path + ".from")


def size_of(path: str) -> int:
    """Return the size of a file in bytes; 0 when it is missing."""
    return os.path.getsize(path) if os.path.exists(path) else 0


def _fetch_rest(url: str, path: str, size: int, progress: "tqdm[Any]") -> None:
    """Make one request for all bytes that `path` lacks, and append those that arrive."""
    have = size_of(path)
    version = _noted_version(path, url) if have else ""
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    if version:
        headers["If-Range"] = version
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            start = _first_byte(response, url, have, size)
            if start and version and _version(response) not in ("", version):
                os.truncate(path, 0)
                raise _TransientError("the file has changed meanwhile", wait=0)
            if start < have:
                why = "the file has changed, or cannot be had in parts"
                tqdm.write(f"{url}: {why}: from the start", file=sys.stderr)
            if not start:
                _note_version(path, url, _version(response))
            progress.update(start - progress.n)
            _append_body(response, path, start, size, progress)
    except ValueError as error:  # What requests raises for an invalid URL.
        raise UserError(f"{url}: {error}") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _TransientError(_root_cause(error)) from None
    except OSError as error:
        if error.errno is not None:  # `path` cannot be written.
            raise
        # What requests raises for certificates that are not where a variable says.
        raise UserError(f"{url}: {error}; correct REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE") from None


def _append_body(
    response: requests.Response, path: str, start: int, size: int, progress: "tqdm[Any]"
) -> None:
    """Write the body to `path` from byte `start` on, each chunk as it arrives."""
    with open(path, "ab" if start else "wb", buffering=0) as file:
        while start < size:
            chunk = response.raw.read1(min(_CHUNK, size - start), decode_content=False)
            if not chunk:
                raise _TransientError(_CUT)
            unwritten = memoryview(chunk)
            while unwritten:
                unwritten = unwritten[file.write(unwritten) :]
            start += len(chunk)
            progress.update(len(chunk))
        os.fsync(file.fileno())


def _first_byte(response: requests.Response, url: str, have: int, size: int) -> int:
    """Return where the body of `response` begins in the file: `have`, or 0.

    Raises:
        UserError: The server does not have the file that was asked for.
        _TransientError: The server may have it later.
    """
    status = response.status_code
    answer = f"{status} {response.reason}"
    if status in _TRANSIENT_STATUS:
        raise _TransientError(answer, _retry_after(response))
    span = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)$", response.headers.get("Content-Range", ""))
    total = span[2] if span else response.headers.get("Content-Length", "")
    if status in (200, 206, 416) and total.isdigit() and int(total) != size:
        raise UserError(
            f"{url}: expected a file of {size:,} bytes, the server has one of {int(total):,}"
        )
    if status == 200:
        return 0
    if status != 206 or not have:
        raise UserError(f"{url}: the server says {answer}")
    if not span or span[1] != str(have):
        asked = f"asked for the bytes from {have:,} on"
        raise UserError(f"{url}: {asked}, got {response.headers.get('Content-Range')!r}")
    return have


def _retry_after(response: requests.Response) -> float | None:
    """Return how many seconds the server asks us to wait; it may send a number or a date."""
    text = response.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _version(response: requests.Response) -> str:
    """Return a name of this version of the file for If-Range; "" when the server gives none."""
    tag = response.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified", "")


def _noted_version(path: str, url: str) -> str:
    """Return the version that `path` is a part of; "" if it is unknown or another server's."""
    try:
        with open(path + ".from", encoding="utf-8") as file:
            noted_url, _, version = file.read().partition("\n")
    except FileNotFoundError:
        return ""
    return version if noted_url == url else ""


def _note_version(path: str, url: str, version: str) -> None:
    with open(path + ".from", "w", encoding="utf-8") as file:
        file.write(f"{url}\n{version}")


def _root_cause(error: BaseException) -> str:
    """Return in a few words what caused an error of requests."""
    while error.__context__ is not None:
        error = error.__context__
    if isinstance(error, http.client.IncompleteRead):
        return _CUT
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
