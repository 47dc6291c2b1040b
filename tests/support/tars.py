"""Tar shards as img2dataset writes them, and tars with anything in them."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tests.support.records import WORDS, jpeg


def write_tar(
    path: Path,
    members: Iterable[tuple[str, bytes] | tarfile.TarInfo],
    form: int = tarfile.GNU_FORMAT,
) -> Path:
    """Write a tar.

    Args:
        path: The tar; its folder is made.
        members: (name, data) of files, or members of other kinds.
        form: One of the formats of `tarfile`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form, errors="surrogateescape") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                name, data = member
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Return a member without data: a link or a device."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def img2dataset(folder: Path, shard: int, numbers: Iterable[int], size=(40, 32)) -> Path:
    """Write what img2dataset writes for a shard: the tar, its .parquet and its _stats.json.

    Image `number` is `jpeg(number)`; its caption comes from WORDS.
    """
    members = []
    for number in numbers:
        key = f"{shard:05}{number:04}"
        caption = WORDS[number % len(WORDS)]
        fields = {
            "url": f"http://a.org/{number}.jpg",
            "caption": caption,
            "key": key,
            "status": "success",
            "error_message": None,
            "width": size[0],
            "height": size[1],
            "exif": "{}",
            "sha256": "0" * 64,
        }
        members += [
            (f"{key}.jpg", jpeg(number, size)),
            (f"{key}.json", json.dumps(fields, indent=4).encode()),
            (f"{key}.txt", caption.encode()),
        ]
    path = write_tar(folder / f"{shard:05}.tar", members)
    path.with_suffix(".parquet").write_bytes(b"PAR1 is not looked at PAR1")
    (folder / f"{shard:05}_stats.json").write_text('{"count": 4, "successes": 4}')
    return path
