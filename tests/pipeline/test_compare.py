"""`verify_records --data_dir` says what changed in the source under a finished build."""

import json

import pytest

from cli.errors import UserError
from tests.support.records import WORDS, CocoFolder, build, build_coco, jpeg, verify

SHARD = {split: f"{split}-00000-of-00001.tfrecord" for split in ("train", "val")}


@pytest.fixture
def folder(tmp_path):
    """A build of this folder has left out 70, 71 and 72, and an empty caption of image 2."""
    folder = CocoFolder(tmp_path / "coco", train=5, val=3)
    folder.add("train", 70, None)
    folder.add("train", 71, jpeg(71)[:-9])
    folder.add("train", 72, jpeg(72), captions=[" "])
    for image_id in (0, 71):  # duplicates, left out whatever became of the first
        folder.add("train", image_id, jpeg(image_id), name=f"again-{image_id}.jpg")
    folder.captions["train"].append({"id": 999, "image_id": 2, "caption": ""})
    folder.write()
    return folder


def build_one(folder: CocoFolder, out, **options) -> None:
    build_coco(folder, out, train_shards=1, max_rejected_fraction=0.9, **options)


def changes(out, folder, capsys) -> list[str]:
    """The lines of `verify_records --data_dir`, the last, which counts them, left out."""
    capsys.readouterr()
    code = verify(out, f"--data_dir={folder.path}")
    *lines, last = capsys.readouterr().out.splitlines()
    assert code == bool(lines)
    if lines:
        changes = "1 change" if len(lines) == 1 else f"{len(lines)} changes"
        assert last.startswith(f"{out}: {changes} in {folder.path} since it was built; to update")
        assert "delete the shards named above" not in last
    else:
        assert f"all is well, as in {folder.path}: train 5 images" in last
    return lines


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"image_size": 16},
        {"captions_per_record": 1},
        {"features": "small_cnn", "encoder_weights": "random"},
    ],
)
def test_changed_bytes_are_found_whatever_records_hold(
    folder, tmp_path, capsys, monkeypatch, options
):
    monkeypatch.setenv(
        "TF_CPP_MIN_LOG_LEVEL", "3"
    )  # else cli.tensorflow_log takes stderr from pytest
    out = tmp_path / "records"
    build_one(folder, out, **options)
    assert changes(out, folder, capsys) == []
    file = folder.path / "train2017" / f"{3:012d}.jpg"
    data = bytearray(file.read_bytes())
    data[200] ^= 1  # the size stays
    file.write_bytes(data)
    said = f"image 3 ({file.name}) has other bytes than when the records were built"
    assert changes(out, folder, capsys) == [f"{SHARD['train']}: {said}"]


def test_what_is_missing_new_or_good_now(folder, tmp_path, capsys):
    out = tmp_path / "records"
    build_one(folder, out)
    (folder.path / "val2017" / f"{1001:012d}.jpg").unlink()
    folder.add("val", 1002000, jpeg(9))
    folder.images["train"] = [image for image in folder.images["train"] if image["id"] != 4]
    for image_id in (70, 71):
        (folder.path / "train2017" / f"{image_id:012d}.jpg").write_bytes(jpeg(image_id))
    folder.captions["train"].append({"id": 998, "image_id": 72, "caption": "a cat"})
    folder.write()
    assert sorted(changes(out, folder, capsys)) == [
        f"{SHARD['train']}: image 4 is no longer listed",
        "train: image 70 (000000000070.jpg) was left out as missing_file and is good now",
        "train: image 71 (000000000071.jpg) was left out as truncated and is good now",
        "train: image 72 (000000000072.jpg) was left out as no_captions and is good now",
        f"{SHARD['val']}: image 1001 (000000001001.jpg) is missing",
        "val: image 1002000 (000001002000.jpg) is new",
    ]


@pytest.mark.parametrize("options", [{}, {"captions_per_record": 1}])
def test_captions_that_changed(folder, tmp_path, capsys, options):
    out = tmp_path / "records"
    build_one(folder, out, **options)
    for split, place, text in (("train", 1, "a zebra"), ("val", 2, "  ")):
        folder.captions[split][place]["caption"] = text
    mine = [c for c in folder.captions["train"] if c["image_id"] == 3]
    mine[0]["caption"], mine[1]["caption"] = mine[1]["caption"], mine[0]["caption"]
    folder.write()
    assert sorted(changes(out, folder, capsys)) == [
        f"{SHARD['train']}: image 0 (000000000000.jpg) has other captions:"
        f" no longer '{WORDS[1]}', now 'a zebra'",
        f"{SHARD['train']}: image 3 (000000000003.jpg) has its captions in another order",
        f"{SHARD['val']}: image 1000 (000000001000.jpg) has other captions:"
        f''' no longer "{WORDS[2]}"''',
    ]


def test_a_picture_that_moved_to_another_name(folder, tmp_path, capsys):
    out = tmp_path / "records"
    build_one(folder, out)
    images = folder.path / "val2017"
    (images / f"{1001:012d}.jpg").rename(images / "moved.jpg")
    folder.images["val"][1]["file_name"] = "moved.jpg"
    folder.write()
    assert changes(out, folder, capsys) == [
        f"{SHARD['val']}: image 1001 (moved.jpg) had the file name 000000001001.jpg"
    ]


def test_deleting_the_shards_named_builds_anew_what_changed(folder, tmp_path, capsys):
    out = tmp_path / "records"
    build_one(folder, out)
    file = folder.path / "val2017" / f"{1001:012d}.jpg"
    file.write_bytes(file.read_bytes()[:-3] + b"\0\xff\xd9")
    build_one(folder, out)  # as long as before: kept
    (line,) = changes(out, folder, capsys)
    assert verify(out, f"--data_dir={folder.path}") == 1
    assert "comparing train: 100%" in capsys.readouterr().err
    (out / line.partition(":")[0]).unlink()
    build_one(folder, out)
    assert changes(out, folder, capsys) == []


def test_damaged_records_are_told_beside_the_changes(folder, tmp_path, capsys):
    out = tmp_path / "records"
    build_one(folder, out)
    shard = out / SHARD["train"]
    shard.write_bytes(shard.read_bytes()[:-100])
    (out / f"{SHARD['train']}.json").write_text("{}")
    (folder.path / "val2017" / f"{1001:012d}.jpg").unlink()
    assert verify(out, f"--data_dir={folder.path}") == 1
    printed = capsys.readouterr().out
    assert "the file ends inside the record" in printed and " found\n" in printed
    assert "image 1001 (000000001001.jpg) is missing" in printed


def test_splits_that_came_or_went(tmp_path, capsys):
    out, source = tmp_path / "records", tmp_path / "captions.jsonl"
    lines = [
        json.dumps({"image": f"{n}.jpg", "captions": ["a dog"], "split": split})
        for n, split in enumerate(["train", "val"])
    ]
    for number in range(2):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    source.write_text("\n".join(lines))
    build(dataset="jsonl", data_dir=source, output_dir=out, min_word_count=1)
    source.write_text("\n".join(lines).replace("val", "test"))
    capsys.readouterr()
    assert verify(out, f"--data_dir={source}") == 1
    *said, _ = capsys.readouterr().out.splitlines()
    assert said == [
        "test: a split that is not in the records",
        f"val: no longer a split of {source}",
    ]


def test_no_source_there(folder, tmp_path, capsys):
    out = tmp_path / "records"
    build_one(folder, out)
    with pytest.raises(UserError, match=r"captions_val2017\.json: no such file"):
        verify(out, f"--data_dir={tmp_path}")
    assert "verifying" not in capsys.readouterr().err  # said before the long reading
