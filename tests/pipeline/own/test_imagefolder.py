"""Folders of images with metadata, or with a text beside each image."""

import json
import os

import pyarrow as pa
import pytest
from pyarrow import parquet

from cli.errors import UserError
from tests.pipeline.own.folders import CAPTIONS, add_images, build_own, captions, check_kill
from tests.support.records import records, rejected, verify


def write_metadata(path, rows: list[dict]) -> None:
    """Write rows of strings or lists of strings in the format that the name tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        lines = [",".join(rows[0])]
        lines += [",".join(json.dumps(v).replace('\\"', '""') for v in r.values()) for r in rows]
        path.write_text("\n".join(lines))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture
def own(tmp_path):
    """A folder in Hugging Face's layout without metadata: train/ and validation/."""
    folder = tmp_path / "own"
    add_images(folder / "train", "0.jpg", "dogs/1.JPG", "2 b.jpg")
    add_images(folder / "validation", "0.jpg", first=7)
    return folder


ROWS = {
    "train": [
        {"file_name": "0.jpg", "text": "a dog"},
        {"file_name": "dogs/1.JPG", "text": "a cat"},
        {"file_name": "2 b.jpg", "text": "a red ball"},
        {"file_name": "0.jpg", "text": "a dog runs"},
    ],
    "validation": [{"file_name": "0.jpg", "text": "two dogs"}],
}
TRAIN = {
    "train/0.jpg": ("a dog", "a dog runs"),
    "train/dogs/1.JPG": ("a cat",),
    "train/2 b.jpg": ("a red ball",),
}


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_folder_for_each_split(own, tmp_path, ending, capsys):
    for split, rows in ROWS.items():
        write_metadata(own / split / f"metadata.{ending}", rows)
    add_images(own, "extra/9.jpg", "train/unnamed.jpg", first=20)
    info = build_own(None, own, tmp_path / "records", verify="decode")
    assert info.dataset == "imagefolder"
    assert captions(records(tmp_path / "records", "train")) == TRAIN
    assert captions(records(tmp_path / "records", "val")) == {"validation/0.jpg": ("two dogs",)}
    out = capsys.readouterr().out
    assert f"found a folder of images with train/metadata.{ending}: --dataset=imagefolder" in out
    assert "2 images have no captions and are left out: extra/9.jpg, train/unnamed.jpg" in out
    assert verify(tmp_path / "records", f"--data_dir={own}") == 0


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_lists_of_captions_and_metadata_at_the_top(own, tmp_path, ending):
    rows = [
        {"file_name": "train/0.jpg", "captions": list(CAPTIONS), "license": "x"},
        {"file_name": "train/dogs/1.JPG", "captions": ["a cat"], "license": "y"},
        {"file_name": "validation/0.jpg", "captions": ["a ball"], "license": "z"},
        {"file_name": "extra/1.jpg", "captions": ["left out"], "license": "z"},
    ]
    add_images(own, "extra/1.jpg", first=30)
    write_metadata(own / f"metadata.{ending}", rows)
    build_own("imagefolder", own, tmp_path / "records")
    assert captions(records(tmp_path / "records", "train")) == {
        "train/0.jpg": CAPTIONS,
        "train/dogs/1.JPG": ("a cat",),
    }
    assert len(records(tmp_path / "records", "val")) == 1


def test_one_folder_with_a_split_column(tmp_path, capsys):
    folder = tmp_path / "own"
    add_images(folder, "0.jpg", "1.jpg", "2.jpg")
    splits = {"0.jpg": "train", "1.jpg": "dev", "2.jpg": "test"}
    rows = [{"file_name": n, "caption": "a dog", "split": split} for n, split in splits.items()]
    write_metadata(folder / "metadata.csv", rows)
    info = build_own(None, folder, tmp_path / "records")
    assert info.dataset == "imagefolder" and list(info.splits) == ["train", "val", "test"]


def test_a_text_beside_each_image(tmp_path, capsys):
    folder = tmp_path / "own"
    add_images(folder, "a.jpg", "in here/b.JPG", "in here/c.jpeg", "alone.jpg", ".hidden.jpg")
    (folder / "a.txt").write_bytes("\ufeffa dog\r\n\r\n a café \r\n".encode())
    (folder / "in here" / "b.TXT").write_text("a cat")
    (folder / "in here" / "c.txt").write_text("")
    (folder / "README.txt").write_text("about this")
    (folder / "in here" / "circle").symlink_to(folder)
    (folder / "linked").symlink_to(tmp_path / "pool")
    add_images(tmp_path / "pool", "d.jpg", first=9)
    (tmp_path / "pool" / "d.txt").write_text("a ball")
    build_own(None, folder, tmp_path / "records", max_rejected_fraction=0.5)
    assert captions(records(tmp_path / "records", "train")) == {
        "a.jpg": ("a dog", "a café"),
        "in here/b.JPG": ("a cat",),
        "linked/d.jpg": ("a ball",),
    }
    assert [line["reason"] for line in rejected(tmp_path / "records")] == ["no_captions"]
    out = capsys.readouterr().out
    assert "found a folder of images with a text beside each" in out
    assert "1 images have no captions and are left out: alone.jpg" in out
    assert "1 texts have no image beside them and are left out: README.txt" in out
    assert "in here/circle: a link to a folder above it is not followed" in out


def test_texts_in_folders_of_splits_and_fractions(own, tmp_path):
    for name in ("train/0.txt", "train/dogs/1.txt", "train/2 b.txt", "validation/0.txt"):
        (own / name).write_text("a dog runs")
    info = build_own("imagefolder", own, tmp_path / "records", test_fraction=0.5)
    sizes = {name: split.total("images") for name, split in info.splits.items()}
    assert sizes["val"] == 1 and sizes["train"] + sizes["test"] == 3 and sizes["test"]


def test_a_name_that_is_not_utf_8(tmp_path):
    folder = tmp_path / "own"
    add_images(folder, "a.jpg")
    os.rename(folder / "a.jpg", os.fsencode(folder) + b"/caf\xe9.jpg")
    with open(os.fsencode(folder) + b"/caf\xe9.txt", "w") as file:
        file.write("a dog")
    build_own("imagefolder", folder, tmp_path / "records")
    assert captions(records(tmp_path / "records", "train")) == {"caf\ufffd.jpg": ("a dog",)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.jsonl", '{"file_name": "0.jpg"}', "which column holds the captions? --caption_"),
        ("metadata.jsonl", '{"file_name": 7, "text": "a"}', 'metadata.jsonl:1:15: "file_name" mus'),
        (
            "metadata.jsonl",
            '{"file_name": "0.jpg", "text": "a"}\n{"file_name": "0.jpg", "text": ["a", 1]}',
            'metadata.jsonl:2:32: "text" must be a string or a list of strings, found ["a", 1]',
        ),
        ("metadata.jsonl", '{"file_name": "0.jpg", "text":', "metadata.jsonl:1:31: damaged JSON: "),
        (
            "metadata.jsonl",
            '{"text": "a", "file_name": "../own/0.jpg"}',
            "metadata.jsonl:1:1: the image must name a file in ",
        ),
        ("metadata.csv", "name,text\n0.jpg,a", "which column names the images? --image_column sa"),
        ("metadata.csv", "file_name,text\n0.jpg", "metadata.csv:2:1: expected 2 columns, found 1"),
        ("metadata.csv", "file_name,text\n9.jpg,a", "none of the 1 images of the list is there: "),
        ("metadata.parquet", "PAR1", "metadata.parquet: damaged Parquet file, perhaps cut short: "),
        ("0.txt", "0 0.51 0.3 0.1 0.2\n1 0.2 0.2 0.1 0.1", "0.txt:1:1: numbers, not captions: "),
        ("0.txt", "caf\udce9", "0.txt: not UTF-8 at byte 3, in line 1; if it comes from Windows"),
        ("other.md", "", "own: lists no image"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, name, text, message):
    add_images(tmp_path / "own", "0.jpg")
    (tmp_path / "own" / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError) as caught:
        build_own("imagefolder", tmp_path / "own", tmp_path / "records")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "records").glob("*"))


def test_two_metadata_files_in_one_folder(own, tmp_path):
    for ending in ("csv", "jsonl"):
        write_metadata(own / "train" / f"metadata.{ending}", ROWS["train"])
    with pytest.raises(UserError, match=r"train: expected one of metadata\.csv, metadata\.jsonl"):
        build_own("imagefolder", own, tmp_path / "records")
    with pytest.raises(UserError, match="own/gone: no such folder"):
        build_own("imagefolder", own / "gone", tmp_path / "records")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet", "txt"])
def test_a_build_that_is_killed(tmp_path, ending):
    folder = tmp_path / "own" / "train"
    add_images(folder, *(f"{n}.jpg" for n in range(400)))
    if ending == "txt":
        for n in range(400):
            (folder / f"{n}.txt").write_text("a dog runs\n")
    else:
        rows = [{"file_name": f"{n}.jpg", "text": "a dog runs"} for n in range(400)]
        write_metadata(folder / f"metadata.{ending}", rows)
    check_kill("imagefolder", tmp_path / "own", tmp_path / "records", val_fraction=0.2)
