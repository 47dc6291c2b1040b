"""A shard's names and its sidecar."""

import dataclasses

import pytest

from cli.errors import UserError
from records import shard_files

SHARD = shard_files.Shard(
    name="train-00000-of-00001.tfrecord",
    listed=3,
    images=2,
    pairs=9,
    records=2,
    bytes=77,
    xxh128="ab" * 16,
    contents=f"7:{'ab' * 8} -9:{'cd' * 8}",
)


def test_content_hashes():
    assert SHARD.content_hashes() == {7: "ab" * 8, -9: "cd" * 8}
    with pytest.raises(ValueError, match="contents of train-00000-of-00001"):
        dataclasses.replace(SHARD, contents="7:ab")


def test_sidecar_there_and_back():
    sidecar = shard_files.Sidecar(SHARD, "ef", ({"reason": "corrupt", "image_id": 1},))
    assert shard_files.Sidecar.from_bytes(sidecar.to_bytes(), "here") == sidecar
    for content in (b"", b"{}", b"[]", b'{"shard": {}, "rejected": [], "fingerprint": ""}'):
        with pytest.raises(UserError, match="here: not a shard's sidecar"):
            shard_files.Sidecar.from_bytes(content, "here")


def test_shard_names():
    assert shard_files.shard_name("val", 3, 12) == "val-00003-of-00012.tfrecord"
    assert shard_files.parse_shard_name("val-00003-of-00012.tfrecord") == ("val", 3, 12)
    for other in ("val-3-of-12.tfrecord", "val-00003-of-00012.tfrecord.json", "dev-00000-of-00001"):
        assert shard_files.parse_shard_name(other) is None
