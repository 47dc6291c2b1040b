"""The files of a split: all of them are there, or one line says what is missing."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
import xxhash

from cli.errors import UserError
from records import split_files, wire
from records.manifest import (
    DATASET_INFO,
    VOCABULARY,
    DatasetInfo,
    Preprocessing,
    Split,
    read_info,
)
from records.schema import CaptionedImage
from records.shard_files import Shard, Sidecar, sidecar_name
from records.split_files import SplitFiles, open_split
from records.vocabulary import Vocabulary
from tests.support.flags import recorded_flags


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two shards of training records, one of each other split; what is in them does not matter."""
    names = {
        "train": ["train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"],
        "val": ["val-00000-of-00001.tfrecord"],
        "test": ["test-00000-of-00001.tfrecord"],
    }
    splits = {}
    for split, shards in names.items():
        for name in shards:
            (tmp_path / name).write_bytes(b"x" * 1234)
            shard = Shard(name, 9, 8, 40, 8, 1234, xxhash.xxh128_hexdigest(b"x" * 1234), "")
            sidecar = Sidecar(shard, "", ())
            (tmp_path / sidecar_name(name)).write_bytes(sidecar.to_bytes())
            splits[split] = Split((*getattr(splits.get(split), "shards", ()), shard), {})
    vocabulary = Vocabulary.build(Counter(["dog", "dog", "and", "a", "ball"]), 1)
    (tmp_path / VOCABULARY).write_text(vocabulary.to_tsv())
    fingerprint = vocabulary.fingerprint
    info = DatasetInfo(
        "scenes", "own", splits, len(vocabulary), fingerprint, Preprocessing(0), 0, recorded_flags()
    )
    (tmp_path / DATASET_INFO).write_bytes(info.to_bytes())
    return tmp_path


def test_a_split_is_its_shards_in_the_order_of_the_manifest(folder):
    info, train = open_split(str(folder), "train")
    assert info == read_info(str(folder))
    paths = tuple(str(folder / f"train-0000{i}-of-00002.tfrecord") for i in range(2))
    assert train == SplitFiles("train", paths, records=16, bytes=2468, images=16)
    assert train.folder == str(folder)


def test_the_first_images_of_a_split_need_no_other_shards(folder):
    first, second = (str(folder / f"train-0000{i}-of-00002.tfrecord") for i in range(2))
    for images in (0, 16, 17, 10**30):
        assert open_split(str(folder), "train", images) == open_split(str(folder), "train")
    info, train = open_split(str(folder), "train", 10)
    assert info == read_info(str(folder))
    assert train == SplitFiles(
        "train", (first, second), 10, 1234 + 308, last_shard_records=2, images=10
    )
    Path(second).unlink()
    Path(sidecar_name(second)).unlink()
    with pytest.raises(UserError, match="found no such file"):
        open_split(str(folder), "train", 9)
    _, train = open_split(str(folder), "train", 8)
    assert train == SplitFiles("train", (first,), 8, 1234, last_shard_records=8, images=8)
    _, train = open_split(str(folder), "train", 5)
    assert train == SplitFiles("train", (first,), 5, 771, last_shard_records=5, images=5)


def test_with_several_records_an_image_their_number_is_read(tmp_path):
    """An image has 1 to 3 records here; the manifest lists images and not what each has."""
    counts = [1, 3, 2, 1, 3]
    frames = [
        b"".join(
            wire.frame(wire.to_bytes(CaptionedImage(image_id, "a.jpg", ("a dog",), ((1, 2),), b"")))
        )
        for image_id, count in enumerate(counts)
        for _ in range(count)
    ]
    name, content = "train-00000-of-00001.tfrecord", b"".join(frames)
    (tmp_path / name).write_bytes(content)
    xxh128 = xxhash.xxh128_hexdigest(content)
    shard = Shard(name, 6, 5, 10, 10, len(content), xxh128, "")

    def write(shard: Shard) -> None:
        splits = {"train": Split((shard,), {})}
        info = DatasetInfo("scenes", "own", splits, 5, "", Preprocessing(0), 0, recorded_flags())
        (tmp_path / DATASET_INFO).write_bytes(info.to_bytes())

    write(shard)
    taken = [open_split(str(tmp_path), "train", images)[1] for images in range(1, 6)]
    assert [files.records for files in taken] == [1, 4, 6, 7, 10]
    assert [files.last_shard_records for files in taken] == [1, 4, 6, 7, None]
    assert [files.bytes for files in taken] == [len(content) * n // 10 for n in (1, 4, 6, 7, 10)]
    write(dataclasses.replace(shard, images=7))
    assert refusal(tmp_path, images=6) == str(tmp_path / name)
    damaged = content[:100] + b"?" + content[101:]
    (tmp_path / name).write_bytes(damaged)
    write(dataclasses.replace(shard, xxh128=xxhash.xxh128_hexdigest(damaged)))
    with pytest.raises(UserError, match=rf"{name}: record 0 at byte 0: .*verify_records"):
        open_split(str(tmp_path), "train", 4)


def test_no_data_set(folder, tmp_path):
    with pytest.raises(UserError, match=r"not a finished data set.*pipeline.build_records"):
        open_split(str(tmp_path / "none"), "train")
    (folder / DATASET_INFO).unlink()  # as a build that is not done leaves it
    with pytest.raises(UserError, match=r"not a finished data set"):
        open_split(str(folder), "val")


def test_where_the_demo_has_records_the_error_names_them(folder, tmp_path, monkeypatch):
    hint = "flags/demo.flags"
    monkeypatch.setattr(split_files, "_DEMO", str(tmp_path / "absent"))
    with pytest.raises(UserError) as caught:
        open_split(str(tmp_path / "none"), "train")
    assert hint not in str(caught.value)
    monkeypatch.setattr(split_files, "_DEMO", str(folder / DATASET_INFO))
    with pytest.raises(UserError, match=rf"not a finished data set.*--flagfile={hint}"):
        open_split(str(tmp_path / "none"), "train")


def test_a_damaged_or_missing_shard(folder):
    shard = folder / "train-00001-of-00002.tfrecord"
    shard.write_bytes(b"x" * 1224)
    with pytest.raises(
        UserError, match=rf"{shard.name}: expected 1,234 bytes, found 1,224 bytes; .*verify_records"
    ):
        open_split(str(folder), "train")
    shard.unlink()
    with pytest.raises(UserError, match=rf"{shard.name}: expected 1,234 bytes, found no such file"):
        open_split(str(folder), "train")
    open_split(str(folder), "val")  # another split is whole


def refusal(folder, split="train", images=0) -> str:
    with pytest.raises(UserError) as refused:
        open_split(str(folder), split, images)
    message = str(refused.value)
    assert "\n" not in message
    assert f"`python -m pipeline.verify_records --records_dir={folder}` says more" in message
    return message.partition(": not the file that dataset_info.json beside it names")[0]


def test_a_shard_of_another_build(folder, monkeypatch):
    shard = folder / "train-00001-of-00002.tfrecord"
    shard.write_bytes(b"y" * 1234)
    assert refusal(folder) == str(shard)
    monkeypatch.setattr(split_files, "_READ_BYTES", 2467)  # too large to be read before it is used
    open_split(str(folder), "train")
    sidecar = folder / sidecar_name(shard.name)
    content = Sidecar.from_bytes(sidecar.read_bytes(), "")
    other = dataclasses.replace(content, shard=dataclasses.replace(content.shard, xxh128="0" * 32))
    sidecar.write_bytes(other.to_bytes())
    assert refusal(folder) == str(sidecar)
    sidecar.unlink()  # as where people copy the shards alone
    open_split(str(folder), "train")


@pytest.mark.parametrize("change", [sorted, lambda lines: lines[:-1], lambda x: [*x, "cat\t1"]])
def test_a_vocabulary_that_was_sorted_cut_or_exchanged(folder, change):
    path = folder / VOCABULARY
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in [*lines[:4], *change(lines[4:])]))
    assert refusal(folder) == refusal(folder, "val") == str(path)


def test_no_such_split_and_one_without_images(folder):
    info = read_info(str(folder))
    del info.splits["test"]
    info.splits["val"] = Split((), {})
    (folder / DATASET_INFO).write_bytes(info.to_bytes())
    with pytest.raises(UserError, match=r"no split 'test'; it has train, val"):
        open_split(str(folder), "test")
    with pytest.raises(UserError, match=r"the split 'val' has no images"):
        open_split(str(folder), "val")
