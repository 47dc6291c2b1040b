"""A folder without --dataset: what is seen in it, and when the build refuses to choose."""

import json
from pathlib import Path

import pytest

from cli.errors import UserError
from pipeline import datasets
from pipeline.build_flags import BuildFlags
from pipeline.datasets.options import SourceOptions
from pipeline.prepare import prepared
from scenes import dataset as scenes
from tests.pipeline.own.folders import add_images
from tests.support.records import CocoFolder


def recognised(folder: Path, **options: str) -> dict[str, str]:
    return datasets.recognise(str(folder), SourceOptions(**options))


def coco_captions() -> str:
    return json.dumps({"info": {}, "images": [], "annotations": []})


FILES = {
    "coco2014": ("dataset_coco.json", "{}"),
    "flickr8k": ("Flickr8k.token.txt", ""),
    "flickr30k": ("dataset_flickr30k.json", "{}"),
    "jsonl": ("captions.jsonl", ""),
    "coco": ("annotations/my_captions.json", coco_captions()),
    "csv": ("captions.txt", "image,caption\na.jpg,a dog\n"),
    "tsv": ("results.token", "a.jpg#0\ta dog\n"),
    "imagefolder": ("train/metadata.csv", "file_name,text\n"),
    "webdataset": ("00000.tar", ""),
}


@pytest.mark.parametrize("name", FILES)
def test_what_each_data_set_looks_like(tmp_path, name):
    path, content = FILES[name]
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(content)
    assert list(recognised(tmp_path)) == [name]
    # An image alone is nothing, and makes no difference.
    add_images(tmp_path, "images/a.jpg")
    assert list(recognised(tmp_path)) == [name]


def test_known_data_sets_are_no_lists_of_a_user(tmp_path):
    CocoFolder(tmp_path / "coco")
    assert recognised(tmp_path / "coco") == {"coco2017": "COCO 2017"}
    scenes.write(tmp_path / "scenes", 12, 0)
    assert recognised(tmp_path / "scenes") == {"scenes": "drawn scenes"}


def test_options_say_which_it_can_be(tmp_path):
    CocoFolder(tmp_path)
    assert list(recognised(tmp_path, split_column="split")) == []
    (tmp_path / "mine.csv").write_text("image,caption\na.jpg,a dog\n")
    assert list(recognised(tmp_path, split_column="caption")) == ["csv"]


def refusal(**flags: str) -> str:
    with (
        pytest.raises(UserError) as caught,
        prepared(BuildFlags(**flags), remark=lambda line: None),
    ):
        pass
    return str(caught.value)


def test_where_it_is_not_clear_the_candidates_are_named(tmp_path):
    for name in ("csv", "webdataset"):
        path, content = FILES[name]
        (tmp_path / path).write_text(content)
    assert refusal(data_dir=str(tmp_path)) == (
        f"{tmp_path}: may be several data sets; say --dataset=csv for a CSV with the columns image,"
        f" caption ({tmp_path}/captions.txt), or --dataset=webdataset for {tmp_path}/00000.tar, a"
        " tar shard of a WebDataset"
    )


def test_a_table_whose_columns_are_not_clear_is_named(tmp_path):
    (tmp_path / "mine.CSV").write_text("Bild,Beschreibung\na.jpg,a dog\n")
    assert refusal(data_dir=str(tmp_path)) == (
        f"{tmp_path}/mine.CSV: which column names the images? --image_column says it; the"
        " columns: Bild, Beschreibung; --dataset=csv reads this table, another --dataset something"
        " else"
    )
    assert refusal(data_dir=f"{tmp_path}/mine.CSV") == refusal(data_dir=str(tmp_path))


def test_images_without_captions_are_counted_and_a_list_above_them_is_named(tmp_path):
    add_images(tmp_path, "photos/1.jpg", "photos/2.jpg")
    photos = tmp_path / "photos"
    message = refusal(data_dir=str(photos))
    assert message.startswith(f"{photos}: 2 images, but no captions beside them; captions stand in")
    (tmp_path / "mine.csv").write_text("image,caption\n1.jpg,a dog\n")
    assert refusal(data_dir=f"{photos}/") == (
        f"{photos}/: 2 images, but no captions beside them; {tmp_path} holds a CSV with the columns"
        f" image, caption ({tmp_path}/mine.csv): --data_dir={tmp_path} takes it"
    )


def test_where_nothing_is_known_the_files_are_named(tmp_path):
    for name in "abcdefg":
        (tmp_path / f"{name}.docx").touch()
    message = refusal(data_dir=str(tmp_path))
    assert "no data set that is known lies there; it holds a.docx, b.docx, c.docx, d.doc" in message
    (tmp_path / "none").mkdir()
    assert "known lies there. --dataset says what" in refusal(data_dir=f"{tmp_path}/none")
    (tmp_path / "photos.zip").touch()
    message = f"{tmp_path}/photos.zip: unpack it, and give the folder as --data_dir"
    assert refusal(data_dir=f"{tmp_path}/photos.zip") == message
    gone = f"{tmp_path}/gone"
    assert refusal(data_dir=gone) == f"{gone}: no such file or folder"
    assert refusal(train_annotations=gone) == f"{gone}: no such file or folder"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.csv", "a,b\n1,2\n"),
        ("notes.json", '{"cells": []}'),
        ("notes.json", "[]"),
        ("instances_train.json", coco_captions()),
        ("notes.tsv", ""),
        ("notes.txt", "image,caption\n"),
        ("notes.csv", "\0" * 100),
        ("captions.json.gz", "no gzip"),
    ],
)
def test_other_files_are_none(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert recognised(tmp_path) == {}
