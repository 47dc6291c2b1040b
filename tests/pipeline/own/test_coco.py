"""Any file in COCO's format: names, folders, ids and what is wrong with it."""

import gzip
import json

import pytest

from cli.errors import UsageError, UserError
from pipeline.datasets import listing
from pipeline.datasets.own.entries import image_id_of
from tests.pipeline.own.folders import CAPTIONS, add_images, build_own, check_kill
from tests.support.records import jpeg, records, rejected, verify


def coco_json(names: dict, captions=CAPTIONS) -> dict:
    """A file of these images, id -> name; annotations have no ids."""
    return {
        "info": {"description": "ours"},
        "images": [{"id": i, "file_name": name} for i, name in names.items()],
        "annotations": [{"image_id": i, "caption": text} for i in names for text in captions],
    }


def write(path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(content).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def own(tmp_path):
    """A folder: train.json, val.json.gz, and the images in pictures/train and pictures/val."""
    folder = tmp_path / "own"
    add_images(folder / "pictures" / "train", *(f"sub dir/{n}.jpg" for n in range(6)))
    add_images(folder / "pictures" / "val", "7.jpg", "8.jpg", first=7)
    write(folder / "train.json", coco_json({str(n): f"sub dir/{n}.jpg" for n in range(6)}))
    write(folder / "val.json.gz", coco_json({7.0: "7.jpg", 8: "8.jpg"}))
    return folder


def test_files_and_folders_are_found_by_themselves(own, tmp_path):
    info = build_own(None, own, tmp_path / "records", verify="decode")
    assert info.dataset == "coco" and info.ids == "own"
    train = {image.image_id: image for image in records(tmp_path / "records", "train")}
    assert set(train) == set(range(6))
    assert train[3].file_name == "sub dir/3.jpg" and train[3].encoded == jpeg(3)
    assert train[3].captions == CAPTIONS
    assert {i.image_id for i in records(tmp_path / "records", "val")} == {7, 8}
    assert verify(tmp_path / "records", f"--data_dir={own}") == 0


def test_files_that_flags_name(own, tmp_path, monkeypatch):
    (own / "train.json").rename(tmp_path / "elsewhere.json")
    monkeypatch.chdir(tmp_path)
    build_own(
        "coco",
        own,
        tmp_path / "records",
        train_annotations="elsewhere.json",
        train_images="pictures/train",  # below --data_dir
        test_annotations=own / "val.json.gz",
        test_images=own / "pictures" / "val",
    )
    assert len(records(tmp_path / "records", "train")) == 6
    assert len(records(tmp_path / "records", "test")) == 2
    assert verify(tmp_path / "records", f"--data_dir={own}") == 0


def test_a_single_file_with_fractions_and_images_without_captions(tmp_path, capsys):
    folder = tmp_path / "own"
    add_images(folder, *(f"images/{n}.jpg" for n in range(60)))
    content = coco_json({n: f"{n}.jpg" for n in range(60)})
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 9]
    content["annotations"].append({"image_id": 600, "caption": "of no image"})
    content["images"].append(content["images"][0])  # Listed twice.
    write(folder / "annotations" / "captions.json", content)
    write(folder / "annotations" / "instances.json", {"images": []})
    options = {"val_fraction": 0.2, "test_fraction": 0.1, "max_rejected_fraction": 0.5}
    info = build_own(None, folder, tmp_path / "records", **options)
    listed = {name: split.total("listed") for name, split in info.splits.items()}
    assert sum(listed.values()) == 60 and listed["val"] > listed["test"] > 0
    lines = {(r["image_id"], r["reason"]) for r in rejected(tmp_path / "records")}
    assert lines == {(9, "no_captions"), (600, "unknown_image_id")}
    printed = capsys.readouterr().out
    assert ": found captions in COCO's format (captions.json): --dataset=coco" in printed
    zero = [i for s in info.splits for i in records(tmp_path / "records", s) if i.image_id == 0]
    assert [image.captions for image in zero] == [CAPTIONS]


def test_files_that_count_from_one_each(tmp_path, capsys):
    folder = tmp_path / "own"
    for split, first in (("train", 0), ("valid", 10)):
        add_images(folder / split, "1.jpg", "2.jpg", first=first)
        write(folder / f"{split}.json", coco_json({1: "1.jpg", 2: "2.jpg"}))
    build_own("coco", folder, tmp_path / "records")
    out = tmp_path / "records"
    assert {i.image_id for i in records(out, "train")} == {
        image_id_of("1.jpg"),
        image_id_of("2.jpg"),
    }
    assert {i.image_id for i in records(out, "val")} == {
        image_id_of("val/1.jpg"),
        image_id_of("val/2.jpg"),
    }
    assert "image id 1 is that of different images in two files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [{"id": "x7", "file_name": "7.jpg"}]}, 'images[0]: "id" must be an integer'),
        ({"images": [{"id": True, "file_name": "7.jpg"}]}, 'images[0]: "id" must be an integer'),
        ({"images": [{"id": 1.5, "file_name": "7.jpg"}]}, 'images[0]: "id" must be an integer'),
        ({"images": [{"id": "9" * 19, "file_name": "7.jpg"}]}, '"id" must be an integer, found "9'),
        ({"images": [{"id": 7}]}, 'images[0]: "file_name" is missing'),
        ({"images": [{"id": 7, "file_name": "../7.jpg"}]}, '"file_name" must name a file in '),
        ({"images": {}}, 'no list "images": not a captions file'),
        ({"annotations": [{"image_id": 1, "bbox": []}]}, 'annotations[0]: "caption" is missing'),
        (
            {"images": [{"id": 1, "file_name": "0.jpg"}, {"id": 1, "file_name": "1.jpg"}]},
            'images[1]: "1.jpg" has the same id as "0.jpg" at ',
        ),
        (
            {"images": [{"id": 1, "file_name": "0.jpg"}, {"id": 2, "file_name": "0.jpg"}]},
            'images[1]: "0.jpg" has the id 2 here and 1 at ',
        ),
        (
            {"images": [{"id": 1, "file_name": "7.png"}]},
            "none of the 1 images of the list is there: ",
        ),
    ],
)
def test_wrong_files_are_one_line(tmp_path, change, message):
    add_images(tmp_path / "own", "0.jpg", "1.jpg", "7.jpg")
    write(tmp_path / "own" / "train.json", coco_json({0: "0.jpg"}) | change)
    with pytest.raises(UserError) as caught:
        build_own("coco", tmp_path / "own", tmp_path / "records")
    assert message in str(caught.value) and "train.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "records").glob("*"))


def test_files_that_are_not_clear(own, tmp_path):
    out = tmp_path / "records"
    write(own / "train2.json", coco_json({}))
    with pytest.raises(UserError, match=r"which of these holds the captions: train\.json, train2"):
        build_own("coco", own, out)
    (own / "train2.json").unlink()
    (own / "val.json.gz").write_bytes((own / "val.json.gz").read_bytes()[:-30])
    with pytest.raises(UserError, match=r"val\.json\.gz: damaged gzip file, perhaps cut short"):
        build_own("coco", own, out)
    with pytest.raises(UserError, match=r"none\.json: no such file"):
        build_own("coco", own, out, train_annotations="none.json")
    with pytest.raises(UserError, match="none: no such folder"):
        build_own("coco", own, out, train_annotations="train.json", train_images="none")
    with pytest.raises(UsageError, match=r"--val_images=pictures: which captions\? Name their"):
        build_own("coco", own, out, val_images="pictures")
    with pytest.raises(UserError, match=r"pictures: holds no JSON file of captions; name it"):
        build_own("coco", own / "pictures", out)
    with pytest.raises(UserError, match=r"gone: no such file or folder"):
        build_own("coco", own / "gone", out)


def test_a_small_file_that_unpacks_to_a_large_one(own, tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "_MAX_UNPACKED_BYTES", 100)
    with pytest.raises(UserError, match=r"val\.json\.gz: holds more than 0 GiB of text"):
        build_own("coco", own, tmp_path / "records")


def test_one_name_in_several_folders(tmp_path):
    for folder in ("a", "b"):
        add_images(tmp_path / "own" / folder, "1.jpg")
    write(tmp_path / "own" / "captions.json", coco_json({1: "1.jpg"}))
    with pytest.raises(UserError, match=r"1\.jpg lies in several folders: .*own/a, .*own/b; name"):
        build_own("coco", tmp_path / "own", tmp_path / "records")


@pytest.mark.slow
def test_a_build_that_is_killed(tmp_path):
    add_images(tmp_path / "own", *(f"{n}.jpg" for n in range(400)))
    write(tmp_path / "own" / "captions.json", coco_json({n: f"{n}.jpg" for n in range(400)}))
    check_kill("coco", tmp_path / "own", tmp_path / "records", val_fraction=0.2)
