"""verify_records finds what is wrong, all of it, and says so line by line."""

import json
import re
import shutil

import pytest

from cli.errors import UserError
from records import manifest, wire
from tests.support.records import CocoFolder, build_coco, jpeg, verify


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("built")
    build_coco(CocoFolder(path / "coco"), path / "records")
    return path / "records"


@pytest.fixture
def out(built, tmp_path):
    shutil.copytree(built, tmp_path / "records")
    return tmp_path / "records"


SHARD = "train-00001-of-00002.tfrecord"


def rewrite(out, change):
    """Write the shard anew, its records changed, sidecar and manifest agreeing with it."""
    import xxhash

    path = out / SHARD
    with open(path, "rb") as file:
        images = [wire.from_bytes(record) for record in wire.read_frames(file)]
    content = b"".join(b"".join(wire.frame(wire.to_bytes(image))) for image in change(images))
    path.write_bytes(content)
    old = json.loads((out / f"{SHARD}.json").read_text())["shard"]
    new = old | {"bytes": len(content), "xxh128": xxhash.xxh128_hexdigest(content)}
    for name in (f"{SHARD}.json", "dataset_info.json"):
        text = (out / name).read_text().replace(old["xxh128"], new["xxh128"])
        (out / name).write_text(
            text.replace(f'"bytes": {old["bytes"]}', f'"bytes": {new["bytes"]}')
        )


def expect(out, capsys, *messages, args=()):
    assert verify(out, *args) == 1
    printed = capsys.readouterr().out
    for message in messages:
        assert message in printed
    assert re.search(r"\b(1 problem|[\d,]+ problems) found\n", printed)


def test_a_flipped_byte(out, capsys):
    content = bytearray((out / SHARD).read_bytes())
    content[700] ^= 1
    (out / SHARD).write_bytes(content)
    expect(out, capsys, f"{SHARD}: record 0 at byte 0: the record's CRC does not match", "xxh128")


def test_a_cut_shard(out, capsys):
    (out / SHARD).write_bytes((out / SHARD).read_bytes()[:-7])
    expect(out, capsys, "the file ends inside the record", "says 6", f"{SHARD}: bytes ")


def test_missing_and_foreign_files(out, capsys):
    (out / SHARD).unlink()
    (out / "notes.txt").write_text("")
    (out / f"{SHARD}.json").unlink()
    expect(
        out,
        capsys,
        f"{SHARD}: is missing",
        f"{SHARD}.json: is missing",
        "notes.txt: does not belong",
    )


def test_a_sidecar_that_disagrees(out, capsys):
    path = out / f"{SHARD}.json"
    path.write_text(path.read_text().replace('"images": 6', '"images": 5'))
    expect(out, capsys, f"{SHARD}.json: differs from dataset_info.json")
    path.write_text("{}")
    expect(out, capsys, f"{SHARD}.json: not a shard's sidecar")


def test_a_vocabulary_of_another_build(out, capsys):
    path = out / "vocabulary.tsv"
    path.write_text(path.read_text() + "zebra\t1\n")
    expect(out, capsys, "vocabulary.tsv: not the vocabulary that dataset_info.json names")


def test_rejections_that_disagree(out, capsys):
    (out / "rejected.jsonl").write_text('{"reason": "corrupt"}\n')
    expect(out, capsys, "rejected.jsonl: not the rejections of the sidecars")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"caption_ids": ((1, 99, 2),) * 5}, "ids outside the vocabulary"),
        ({"caption_ids": ((4, 2),) * 5}, "ids do not run from <start> to <end>"),
        ({"caption_ids": ((1, 4, 2),) * 5}, "ids are not those of its words"),
        ({"encoded": b"<html>"}, "the image is unknown_format"),
        ({"encoded": None}, "the image is missing"),
        ({"encoded": jpeg(9)}, "the image is not the one that dataset_info.json lists"),
        ({"image_id": 1000}, "other images, or in another order, than dataset_info.json lists"),
    ],
)
def test_a_record_that_breaks_the_contract(out, capsys, changed, message):
    import dataclasses

    rewrite(out, lambda images: [*images[:-1], dataclasses.replace(images[-1], **changed)])
    expect(out, capsys, message)


def test_an_image_that_comes_twice(out, capsys):
    rewrite(out, lambda images: [*images, images[0]])
    expect(out, capsys, "comes twice", "records 7, dataset_info.json says 6")


def test_only_decoding_finds_damaged_pixels(tmp_path, capsys):
    folder, out = CocoFolder(tmp_path / "coco"), tmp_path / "records"
    data = jpeg(50)
    folder.add("train", 50, data[: len(data) // 2] + data[-len(data) // 4 :])
    folder.write()
    build_coco(folder, out)
    assert verify(out) == 0
    capsys.readouterr()
    expect(out, capsys, "the image is corrupt", args=["--decode"])


def test_images_in_another_order(out, capsys):
    rewrite(out, lambda images: images[::-1])
    expect(out, capsys, f"{SHARD}: other images, or in another order, than dataset_info.json lists")


def test_leaks_that_the_manifest_keeps_silent_about(tmp_path, capsys):
    folder, out = CocoFolder(tmp_path / "coco"), tmp_path / "records"
    folder.add("val", 2000, jpeg(3))
    folder.write()
    build_coco(folder, out, allow_leak=True)
    assert verify(out) == 0
    info = json.loads((out / "dataset_info.json").read_text())
    (out / "dataset_info.json").write_text(json.dumps(info | {"leaks": {}}))
    expect(out, capsys, "val: 1 images are in train too (2000 (in train as 3)), the file says 0")


def test_no_data_set(out):
    (out / manifest.DATASET_INFO).unlink()
    with pytest.raises(UserError, match=r"not a finished data set, dataset_info\.json is missing"):
        verify(out)
