"""Unpack a zip: no file outside its folder, and each file whole or not at all."""

import contextlib
import os
import posixpath
import shutil
import zipfile
import zlib

from cli.atomic_file import TEMPORARY_PREFIX
from cli.errors import UserError
from cli.progress import bar
from pipeline.datasets.listing import confined

_CHUNK = 1 << 20


def check_space(data_dir: str, needed: int) -> None:
    """Raise UserError unless the disk of `data_dir` has `needed` bytes free."""
    free = shutil.disk_usage(data_dir).free
    if needed > free:
        raise UserError(
            f"{data_dir}: {needed / 1e9:,.2f} GB more are needed, {free / 1e9:,.2f} GB are free"
            " on its disk; free some space, or pass another --data_dir"
        )


def unpack(path: str, data_dir: str) -> None:
    """Unpack the zip at `path` into `data_dir`, except for files that are there already.

    Each file gets its name when it is complete.

    Raises:
        UserError: The zip is damaged, names a file outside `data_dir`, or the disk is too small.
        OSError: A file cannot be written.
    """
    name = posixpath.basename(path)
    try:
        with zipfile.ZipFile(path) as archive:
            targets = {}
            for member in archive.infolist():
                target = confined(data_dir, member.filename)
                if target is None:
                    raise UserError(f"{path}: {member.filename!r} would lie outside {data_dir}")
                if not member.is_dir():
                    targets[target] = member
            missing = [m for target, m in targets.items() if not _has_size(target, m.file_size)]
            check_space(data_dir, sum(member.file_size for member in missing))
            with bar(len(targets), f"unpacking {name}", "files") as progress:
                for target, member in targets.items():
                    if not _is_unpacked(target, member):
                        _extract(archive, member, target)
                    progress.update()
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged: {error}; delete it") from None


def _has_size(path: str, size: int) -> bool:
    return os.path.isfile(path) and os.path.getsize(path) == size


def _is_unpacked(target: str, member: zipfile.ZipInfo) -> bool:
    """Return whether the file at `target` is the zip's, by its size and checksum."""
    if not _has_size(target, member.file_size):
        return False
    checksum = 0
    with open(target, "rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum == member.CRC


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: str) -> None:
    folder = posixpath.dirname(target)
    os.makedirs(folder, exist_ok=True)
    # Not cli.atomic_file: to sync each of 100,000 images to the disk would take hours, so the
    # caller syncs once, before it deletes the zip. What a killed run leaves under this one name is
    # written over by the next.
    temporary = posixpath.join(folder, TEMPORARY_PREFIX + "unpacking")
    try:
        with archive.open(member) as source, open(temporary, "wb") as file:
            shutil.copyfileobj(source, file, _CHUNK)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
