"""The members of a tar, listed by their headers: the data of images is skipped, not read.

Nothing is unpacked. Only regular files are listed, so links, devices and names that lead elsewhere
can do nothing.
"""

import posixpath
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from cli.errors import UserError
from pipeline.storage import files
from records import hashes

# The most that a text may have, and a header: a name of a member may be longer than one block.
MAX_TEXT_BYTES = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
# More than the zeros that fill an archive up to its block size.
_END_BYTES = 64 << 10
_COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class Place(NamedTuple):
    """Where a member lies.

    Attributes:
        tar: Path of the archive.
        offset: Where its data begins.
        size: Length of its data.
        header: Hash of the header block, which lies before the data: it changes when the member's
            name, size or time does.
    """

    tar: str
    offset: int
    size: int
    header: str

    def __str__(self) -> str:
        """Return the place in a form that `parse` reads."""
        return f"{self.tar}#{self.offset}:{self.size}:{self.header}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Return the place that `str` has written."""
        tar, _, numbers = text.rpartition("#")
        offset, size, header = numbers.split(":")
        return cls(tar, int(offset), int(size), header)


class Member(NamedTuple):
    r"""A member of a tar.

    Attributes:
        name: Relative to the archive's root; bytes that are no UTF-8 are written as `\\xff`.
        place: Where its data lies; None when it is no regular file or its name leads elsewhere.
        text: Its data, for a text that was asked for.
    """

    name: str
    place: Place | None
    text: bytes | None = None


def members(path: str, is_text: Callable[[str], bool]) -> Iterator[Member]:
    """Yield the members of a tar in their order; folders are left out.

    Memory holds one header and one text at a time.

    Args:
        path: The archive.
        is_text: Whether the data of the member with this name is wanted.

    Raises:
        UserError: The archive is missing, damaged, cut short, compressed, or has a text that is too
            long.
    """
    try:
        with files.open_file(path) as file:
            yield from _members(path, file, is_text)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {files.reason(error)}") from None
    except (tarfile.TarError, ValueError) as error:
        raise UserError(f"{path}: damaged tar, or no tar: {error}") from None


def read(place: Place) -> bytes:
    """Return the data of a member.

    Raises:
        UserError: The archive cannot be read, or has changed since it was listed.
    """
    block = files.read_piece(place.tar, place.offset - _BLOCK, _BLOCK + place.size)
    if len(block) < _BLOCK + place.size or _header_hash(block[:_BLOCK]) != place.header:
        raise UserError(
            f"{place.tar}: has changed since its members were listed; run the command again"
        )
    return block[_BLOCK:]


def _header_hash(block: bytes) -> str:
    return hashes.content_hash(block)


def _members(path: str, file: BinaryIO, is_text: Callable[[str], bool]) -> Iterator[Member]:
    first = file.read(_BLOCK)
    for magic, name in _COMPRESSIONS.items():
        if first.startswith(magic):
            raise UserError(
                f"{path}: compressed by {name}: images cannot be read by their place in it;"
                " decompress it (JPEGs do not shrink) and give it a name that ends in .tar"
            )
    file.seek(0)
    headers = _Headers(file)
    # TarFile calls three methods only.
    with tarfile.TarFile(
        fileobj=headers,  # type: ignore[arg-type]
        encoding="utf-8",
        errors="surrogateescape",
    ) as tar:
        end = 0
        while (info := tar.next()) is not None:
            if tar.offset <= end:
                raise UserError(f"{path}: damaged tar: a member of negative size at byte {end:,}")
            end = tar.offset
            # It would keep them all; typeshed does not know the attribute.
            tar.members.clear()  # type: ignore[attr-defined]
            if not info.isdir():
                yield _member(path, file, info, headers.last, is_text)
        _check_end(path, file, tar.offset)


def _member(
    path: str, file: BinaryIO, info: tarfile.TarInfo, header: bytes, is_text: Callable[[str], bool]
) -> Member:
    name = info.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    # As `tar c .` names them.
    name = posixpath.normpath(name)
    if not info.isreg() or info.issparse() or name.startswith(("/", "../")) or "\0" in name:
        return Member(name, None)
    place = Place(path, info.offset_data, info.size, _header_hash(header))
    if not is_text(name):
        return Member(name, place)
    if info.size > MAX_TEXT_BYTES:
        raise UserError(
            f"{path}: {name}: a text of {info.size:,} bytes, more than {MAX_TEXT_BYTES:,}"
        )
    file.seek(info.offset_data)
    return Member(name, place, file.read(info.size))


def _check_end(path: str, file: BinaryIO, offset: int) -> None:
    """Check that the archive ends at `offset` with its end mark, which is zeros.

    `tarfile` takes damage for the end.
    """
    file.seek(offset)
    rest = file.read(_END_BYTES)
    if len(rest) < _BLOCK:
        raise UserError(
            f"{path}: cut short: it has no end mark after {offset:,} bytes; fetch or write it"
            " again, or move it away"
        )
    if any(rest[:_BLOCK]):
        raise UserError(f"{path}: damaged tar: no header at byte {offset:,}")
    if any(rest):
        raise UserError(
            f"{path}: more data follows its end mark at byte {offset:,}; if two archives were"
            " joined, give each a file of its own"
        )


class _Headers:
    """The file as `tarfile` reads headers from it.

    Attributes:
        last: What was read last: after a member's header, its last block.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.last = b""
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        """Read a header, or a part of one; a size that no header has is damage."""
        if not 0 <= size <= MAX_TEXT_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self.last = self._file.read(size)
        return self.last
