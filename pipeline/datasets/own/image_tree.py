"""All files below a folder, links followed."""

import os
import posixpath
from collections.abc import Iterator

from cli.errors import UserError
from pipeline.datasets.listing import clean
from pipeline.datasets.own.findings import Findings
from pipeline.storage import files

# Folders that macOS adds to zips. Names with a dot in front are passed over, too.
_PASSED_OVER = ("__MACOSX",)


def tree(folder: str, findings: Findings) -> list[str]:
    """Return the names of all files below a folder, relative to it and sorted.

    A link that leads back into a folder above it is not followed, and remarked on.

    Args:
        folder: A local folder.
        findings: Takes the remark.

    Raises:
        UserError: It is no local folder, or cannot be read.
    """
    if not files.is_local(folder):
        raise UserError(f"{folder}: a folder of images is read from a local disk only")
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: no such folder")
    return sorted(_walk(folder, "", frozenset(), findings))


def _walk(
    root: str, folder: str, above: frozenset[tuple[int, int]], findings: Findings
) -> Iterator[str]:
    """Yield the files below `root/folder`; `above`: the folders that lead to it."""
    path = posixpath.join(root, folder)
    try:
        status = os.stat(path)
        identity = status.st_dev, status.st_ino
        if identity in above:
            findings.remark(f"{clean(path)}: a link to a folder above it is not followed")
            return
        with os.scandir(path) as inside:
            entries = [(entry.name, entry.is_dir()) for entry in inside]
    except OSError as error:
        raise UserError(f"{clean(path)}: cannot be read: {files.reason(error)}") from None
    for name, is_folder in sorted(entries):
        if name.startswith(".") or name in _PASSED_OVER:
            continue
        inner = posixpath.join(folder, name)
        if is_folder:
            yield from _walk(root, inner, above | {identity}, findings)
        else:
            yield inner
