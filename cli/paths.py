"""Paths as people type them: with ~, with commas, or nearly right."""

import difflib
import os
import re
from collections.abc import Collection

from cli.errors import UsageError

_LIKE = 0.8  # From here on a name is offered for another one.
_MANY = 5_000  # Comparing more names takes too long.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOME = re.compile(r"(^|,)(~[^/,]*)(?=[/,]|$)")


def expand_user(text: str) -> str:
    """Replace ~ and ~user at the start of a path, or of each path where commas separate several.

    Args:
        text: A path, or several. An unknown user's stays as it is.

    Returns:
        The paths.
    """
    return _HOME.sub(lambda match: match[1] + os.path.expanduser(match[2]), text)


def split(text: str) -> list[str]:
    """Split paths at commas, but not within a path that exists.

    Args:
        text: Paths, separated by commas.

    Returns:
        The paths. Of several ways to split, that with the longest path that exists first.
    """
    pieces = text.split(",")
    paths: list[str] = []
    while pieces:
        joined = (",".join(pieces[:count]) for count in range(len(pieces), 1, -1))
        paths.append(next(filter(_exists, joined), pieces[0]))
        del pieces[: paths[-1].count(",") + 1]
    return paths


def _exists(path: str) -> bool:
    """Return whether a path exists, or at least the folder in it up to the last comma."""
    folder, comma, inside = path.rpartition(",")
    name, slash, _ = inside.partition("/")
    return os.path.lexists(path) or (bool(slash) and os.path.isdir(folder + comma + name))


def require_local(flag: str, path: str) -> None:
    """Refuse an address, which would become a folder of that name on this machine.

    Args:
        flag: The flag's name, for the message.
        path: Its value.

    Raises:
        UsageError: It begins as `s3://` does.
    """
    if _ADDRESS.match(path):
        raise UsageError(
            f"--{flag}={path}: expected a folder of this machine, found an address; only the build"
            " of records reads and writes object stores: give a local folder, and copy it"
        )


def suggest(path: str, taken: Collection[str] = ()) -> str:
    """Return what to say about a path that does not exist.

    Args:
        path: What was tried.
        taken: Paths that exist and cannot be meant.

    Returns:
        "; did you mean PATH?" where one exists that differs in case, in the direction of slashes or
        in few letters, else "". A path that exists is itself and no other.
    """
    near = _near(path.replace("\\", "/"), taken)
    return f"; did you mean {near}?" if near and near != path else ""


def _near(path: str, taken: Collection[str]) -> str | None:
    """Return an existing path that is like this one, part by part."""
    if os.path.lexists(path):
        return path
    parent, name = os.path.split(path.rstrip("/"))
    if not name:
        return None
    folder = parent if os.path.lexists(parent or os.curdir) else _near(parent, taken)
    try:
        names = sorted(os.listdir(folder or os.curdir)) if folder is not None else []
    except OSError:
        return None
    names = [other for other in names if os.path.join(folder or "", other) not in taken]
    if len(names) > _MANY:
        names = [other for other in names if other.lower() == name.lower()]
    likeness = {other: _likeness(name, other) for other in names}
    best = max(names, key=likeness.__getitem__, default="")
    return os.path.join(folder or "", best) if best and likeness[best] > _LIKE else None


def _likeness(name: str, other: str) -> float:
    """Return how alike two names are; 0 to 1, 2 for those that differ in case only."""
    stem, other_stem = (os.path.splitext(text.lower())[0] for text in (name, other))
    same = name.lower() == other.lower()
    return 2.0 if same else difflib.SequenceMatcher(None, stem, other_stem).ratio()
