"""The manifest says which pictures lie in each split, and none of val or test lies in train."""

import re

import pytest
import xxhash

from cli.errors import UserError
from records import manifest
from tests.pipeline.own.folders import build_own
from tests.support.records import CocoFolder, build_coco, checksums, jpeg, records


@pytest.fixture
def folder(tmp_path):
    return CocoFolder(tmp_path / "coco")


def hashes(folder: CocoFolder, split: str) -> dict[int, str]:
    """Image id -> the XXH3 of 64 bits of its file."""
    return {
        entry["id"]: xxhash.xxh3_64(
            (folder.path / f"{split}2017" / entry["file_name"]).read_bytes()
        ).hexdigest()
        for entry in folder.images[split]
    }


@pytest.mark.parametrize("options", [{}, {"image_size": 16}, {"captions_per_record": 1}])
def test_contents_are_the_ids_and_the_hashes_of_the_files_as_they_lie(folder, tmp_path, options):
    folder.add("train", 77, b"no JPEG")  # left out of the shard, so of its contents too
    folder.write()
    out = tmp_path / "records"
    info = build_coco(folder, out, max_rejected_fraction=0.5, **options)
    assert info.ids == "coco"
    listed = hashes(folder, "train")
    del listed[77]
    assert info.splits["train"].content_hashes == listed
    written = list(dict.fromkeys(image.image_id for image in records(out, "train")))
    assert list(info.splits["train"].content_hashes) == written


def refused(folder, out, **options) -> str:
    """The line that a build ends with; no data set is left then, but its shards are."""
    with pytest.raises(UserError) as error:
        build_coco(folder, out, **options)
    assert not (out / manifest.DATASET_INFO).exists()
    assert (out / "val-00000-of-00001.tfrecord").exists()
    return str(error.value)


def test_the_same_picture_under_another_id_is_refused(folder, tmp_path):
    folder.add("val", 2000, jpeg(3))
    folder.write()
    message = refused(folder, tmp_path / "records")
    assert message.startswith("val: 1 of 7 images are in train too, ")
    assert "2000 (in train as 3). " in message and "--allow_leak" in message


def test_the_same_id_with_other_bytes_is_refused(folder, tmp_path):
    folder.add("val", 3, jpeg(3, quality=30))
    folder.write()
    assert "are in train too, by their id or their bytes: 3. " in refused(folder, tmp_path / "out")


def test_many_leaks_are_counted_and_the_first_are_named(folder, tmp_path):
    for number in range(9):
        folder.add("val", 2000 + number, jpeg(number))
    folder.write()
    message = refused(folder, tmp_path / "records")
    assert message.startswith("val: 9 of 15 images") and message.count("in train as") == 5
    assert " and 4 more. " in message


def test_resizing_hides_no_leak_and_a_rejected_image_is_none(folder, tmp_path):
    # The first of the two was listed, but is not in the records.
    folder.add("train", 70, jpeg(500)[:-9])
    folder.add("val", 2000, jpeg(500)[:-9])
    folder.write()
    options = {"image_size": 16, "max_rejected_fraction": 0.5}
    assert build_coco(folder, tmp_path / "records", **options).leaks == {}
    folder.add("train", 71, jpeg(501))
    folder.add("val", 2001, jpeg(501))
    folder.write()
    assert "2001 (in train as 71)" in refused(folder, tmp_path / "records", **options)


def test_allow_leak_builds_from_what_is_finished_and_counts(folder, tmp_path, capsys):
    folder.add("val", 2000, jpeg(3))
    folder.write()
    out = tmp_path / "records"
    refused(folder, out)
    before = checksums(out)
    capsys.readouterr()
    info = build_coco(folder, out, allow_leak=True)
    assert info.leaks == {"val": 1} and info.flags.every["allow_leak"] is True
    assert checksums(out) == before
    printed = capsys.readouterr().out
    assert "3 of 3 shards were finished before and kept" in printed
    assert "val: 1 of 7 images are in train too: scores of it are CONTAMINATED 14.3%" in printed
    # Without it the data set is none again.
    refused(folder, out)


def test_a_picture_twice_in_one_split_is_no_leak(folder, tmp_path):
    for split, image_id in (("train", 70), ("train", 71), ("val", 2000), ("val", 2001)):
        folder.add(split, image_id, jpeg(500 + (split == "val")))
    folder.write()
    info = build_coco(folder, tmp_path / "records")
    assert info.leaks == {} and info.splits["train"].total("images") == 14


def test_images_of_a_user_are_named_by_their_files(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for number in range(12):
        (own / f"{number}.jpg").write_bytes(jpeg(number % 6))
    rows = "".join(f"{number}.jpg,a dog\n" for number in range(12))
    (own / "mine.csv").write_text("image,caption\n" + rows)
    options = {"val_fraction": 0.4, "min_word_count": 1}
    with pytest.raises(UserError) as error:
        build_own("csv", own, tmp_path / "records", **options)
    message = str(error.value)
    assert re.search(r"their bytes: \d+\.jpg \(in train as \d+\.jpg\)", message)
    assert "names that put them into two splits: keep one copy, or build with" in message
    assert "lists" not in message
