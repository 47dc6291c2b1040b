"""A large file over HTTP: fetched in as many pieces as it takes, none of them twice."""

import contextlib
import http.client
import os
import posixpath
import re
import sys
import time
from email.utils import parsedate_to_datetime

import requests
import urllib3
from tqdm import tqdm

from cli.errors import UserError
from cli.progress import bar

_CHUNK = 1 << 20
_TIMEOUT = (30, 60)  # seconds: to connect, and between two pieces
_PASSING = {408, 429, 500, 502, 503, 504}
# Tries in a row that bring nothing new, before anything has come and after; then we give up.
_TRIES, _TRIES_LATER = 4, 10
_LONGEST_WAIT = 600  # seconds
_CUT = "the connection was cut"


class _PassingError(Exception):
    """A failure that may pass. `after`: how many seconds the server asked us to wait, or None."""

    def __init__(self, reason: str, after: float | None = None):
        super().__init__(reason)
        self.after = after


def fetch(url: str, path: str, size: int) -> None:
    """Fetch the file at `url` into `path`, going on with what an earlier call left there.

    Cuts, overload and a network that is away for minutes are waited out. `path` + ".from" notes
    which version of the file `path` is a part of, as far as the server tells versions apart.

    Call arguments:
        size: how many bytes there must be.

    Raises:
        UserError: the server has no such file, or one of another size, or fails for too long.
        OSError: `path` cannot be written; what is written stays.
    """
    started = furthest = have = written(path)
    failures = 0
    with bar(size, f"fetching {posixpath.basename(url)}", "B", have, scaled=True) as shown:
        while have < size:
            try:
                _go_on(url, path, size, shown)
            except _PassingError as failure:
                if written(path) > furthest:
                    furthest, failures = written(path), 0
                failures += 1
                if failures == (_TRIES_LATER if furthest > started else _TRIES):
                    times = f"{failures} times in a row"
                    raise UserError(f"{url}: {failure} ({times})") from None
                wait = 2.0 ** (failures - 1) if failure.after is None else failure.after
                wait = min(wait, _LONGEST_WAIT)
                shown.set_postfix_str(f"{failure}; again in {wait:.0f} s")
                time.sleep(wait)
                shown.set_postfix_str("", refresh=False)
            have = written(path)
    with contextlib.suppress(FileNotFoundError):
        os.remove(path + ".from")


def written(path: str) -> int:
    """Bytes of `path`; 0 where it is missing."""
    return os.path.getsize(path) if os.path.exists(path) else 0


def _go_on(url: str, path: str, size: int, shown: tqdm) -> None:
    """One request: from the byte where `path` ends to the last one, or as many as come."""
    have = written(path)
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
                raise _PassingError("the file has changed meanwhile", after=0)
            if start < have:
                why = "the file has changed, or cannot be had in parts"
                tqdm.write(f"{url}: {why}: from the start", file=sys.stderr)
            if not start:
                _note_version(path, url, _version(response))
            shown.update(start - shown.n)
            _copy(response, path, start, size, shown)
    except ValueError as error:  # what requests says of a URL that is none
        raise UserError(f"{url}: {error}") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _PassingError(_cause(error)) from None


def _copy(response: requests.Response, path: str, start: int, size: int, shown: tqdm) -> None:
    """Write the body to `path` from byte `start` on, each piece as it comes."""
    with open(path, "ab" if start else "wb", buffering=0) as file:
        while start < size:
            piece = response.raw.read1(min(_CHUNK, size - start), decode_content=False)
            if not piece:
                raise _PassingError(_CUT)
            left = memoryview(piece)
            while left:
                left = left[file.write(left) :]
            start += len(piece)
            shown.update(len(piece))
        os.fsync(file.fileno())


def _first_byte(response: requests.Response, url: str, have: int, size: int) -> int:
    """Where the body of `response` begins in the file: at `have`, or at 0.

    Raises:
        UserError: it is not the file that was asked for; _PassingError: it may be, later.
    """
    status = response.status_code
    said = f"{status} {response.reason}"
    if status in _PASSING:
        raise _PassingError(said, _retry_after(response))
    span = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)$", response.headers.get("Content-Range", ""))
    total = span[2] if span else response.headers.get("Content-Length", "")
    if status in (200, 206, 416) and total.isdigit() and int(total) != size:
        raise UserError(
            f"{url}: expected a file of {size:,} bytes, the server has one of {int(total):,}"
        )
    if status == 200:
        return 0
    if status != 206 or not have:
        raise UserError(f"{url}: the server says {said}")
    if not span or span[1] != str(have):
        asked = f"asked for the bytes from {have:,} on"
        raise UserError(f"{url}: {asked}, got {response.headers.get('Content-Range')!r}")
    return have


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the server asks us to wait, if it does: it gives a number or a date."""
    text = response.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _version(response: requests.Response) -> str:
    """What tells this version of the file from another, fit for If-Range; "" where nothing does."""
    tag = response.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified", "")


def _noted_version(path: str, url: str) -> str:
    """The version that `path` is a part of; "" if not known, or said by another server."""
    try:
        with open(path + ".from", encoding="utf-8") as file:
            noted_url, _, version = file.read().partition("\n")
    except FileNotFoundError:
        return ""
    return version if noted_url == url else ""


def _note_version(path: str, url: str, version: str) -> None:
    with open(path + ".from", "w", encoding="utf-8") as file:
        file.write(f"{url}\n{version}")


def _cause(error: Exception) -> str:
    """What lies beneath an error of requests, in a few words."""
    while error.__context__ is not None:
        error = error.__context__
    if isinstance(error, http.client.IncompleteRead):
        return _CUT
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
