"""Who may use the server: a token, web sites, and names of this machine."""

import dataclasses
import ipaddress
import re

from cli.errors import UsageError

_TOKEN = re.compile(r"[!-~]{1,1000}")
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535


@dataclasses.dataclass(frozen=True)
class Access:
    """Who may use the server.

    Attributes:
        token: What requests for captions and measurements must carry; "" for nothing.
        origins: Web sites whose pages may use it.
        local_only: Whether only requests for names of this machine are answered.
    """

    token: str = ""
    origins: tuple[str, ...] = ()
    local_only: bool = True


def parse_token(variable: str, value: str | None) -> str:
    """Return the token that an environment variable sets, or "" where it is not set.

    Args:
        variable: Its name, for messages.
        value: Its value; None where it is not set.

    Raises:
        UsageError: It is empty, or cannot be sent in a header.
    """
    if value is None:
        return ""
    if not value:
        raise UsageError(
            f"{variable} is set and empty: give it a token, or unset it to serve without one"
        )
    if not _TOKEN.fullmatch(value):
        raise UsageError(
            f"{variable}: expected 1 to 1000 printable ASCII characters without spaces, found"
            f" {len(value)} characters of which some are others, or too many"
        )
    return value


def parse_origins(flag: str, text: str) -> tuple[str, ...]:
    """Return the web sites of a list with commas.

    Args:
        flag: The flag's name, for messages.
        text: Its value.

    Raises:
        UsageError: One of them is no origin.
    """
    origins = tuple(part.strip() for part in text.split(",") if part.strip())
    for origin in origins:
        match = _ORIGIN.fullmatch(origin)
        if not match or int(match["port"] or 0) > _MAX_PORT:
            raise UsageError(
                f"--{flag}: expected web sites as https://example.org or http://localhost:3000"
                f" (lower case, without a path), found {origin!r}"
            )
    return origins


def is_local(name: str) -> bool:
    """Return whether a host name or an address is this machine's own, seen from itself."""
    name = name.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
