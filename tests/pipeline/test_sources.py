"""COCO 2014, Flickr8k and Flickr30k in Karpathy's JSON, and which sources there are."""

import json
from pathlib import Path

import pytest

from cli.errors import UsageError, UserError
from pipeline import datasets, prepare
from tests.support.records import WORDS, build, jpeg, records, rejected, verify

ODD = ("A man  with\ta “hat” ", "e\u0301 🐕 not normalised.\n")


def sentences(first_id: int, texts=WORDS) -> list[dict]:
    return [
        {"raw": text, "sentid": first_id + i, "imgid": 0, "tokens": ["not", "these"]}
        for i, text in enumerate(texts)
    ]


def coco_entry(split: str, coco_id: int, folder: str, texts=WORDS) -> dict:
    return {
        "filepath": folder,
        "filename": f"COCO_{folder}_{coco_id:012d}.jpg",
        "cocoid": coco_id,
        "imgid": coco_id % 7,
        "split": split,
        "sentids": [],
        "sentences": sentences(coco_id * 10, texts),
    }


def write_json(path: Path, dataset: str, entries: list) -> None:
    path.write_text(json.dumps({"images": entries, "dataset": dataset}))


@pytest.fixture
def coco(tmp_path):
    """(data_dir, its entries): 4 train, 2 restval, 2 val, 1 test; image N is jpeg(N)."""
    data_dir = tmp_path / "coco2014"
    entries = [coco_entry("train", n, "train2014") for n in (9, 25, 30, 34)]
    entries[1]["sentences"] = sentences(250, ODD)
    for split, numbers in {"restval": (42, 73), "val": (133, 136), "test": (139,)}.items():
        entries += [coco_entry(split, n, "val2014") for n in numbers]
    for folder in ("train2014", "val2014"):
        (data_dir / folder).mkdir(parents=True)
    for entry in entries:
        path = data_dir / entry["filepath"] / entry["filename"]
        path.write_bytes(jpeg(entry["cocoid"]))
    write_json(data_dir / "dataset_coco.json", "coco", entries)
    return data_dir, entries


def build_coco2014(data_dir, output_dir, **options):
    named = {"dataset": "coco2014", "data_dir": data_dir, "output_dir": output_dir}
    return build(**({"min_word_count": 1, "max_rejected_fraction": 0.5} | named | options))


def test_coco2014(coco, tmp_path):
    out = tmp_path / "records"
    info = build_coco2014(coco[0], out, verify="decode")
    found = {split: {r.image_id: r for r in records(out, split)} for split in info.splits}
    assert {split: set(ids) for split, ids in found.items()} == {
        "train": {9, 25, 30, 34, 42, 73},  # restval is in it
        "val": {133, 136},
        "test": {139},
    }
    assert found["train"][42].file_name == "COCO_val2014_000000000042.jpg"
    assert found["train"][42].encoded == jpeg(42) and found["test"][139].encoded == jpeg(139)
    assert found["train"][25].captions == ODD
    assert found["val"][136].captions == WORDS
    assert rejected(out) == [] and verify(out, "--decode") == 0


def test_coco2014_images_that_are_left_out(coco, tmp_path):
    data_dir, entries = coco
    twice = coco_entry("restval", 9, "train2014")
    # A JPEG lies where these two lead, outside of data_dir.
    (tmp_path / "away.jpg").write_bytes(jpeg())
    outside = [coco_entry("val", 500, ".."), coco_entry("val", 501, "val2014")]
    outside[0]["filename"] = "away.jpg"
    outside[1]["filename"] = str(tmp_path / "away.jpg")
    write_json(data_dir / "dataset_coco.json", "coco", [*entries, twice, *outside])
    build_coco2014(data_dir, tmp_path / "records")
    lines = {
        (line["split"], line["image_id"], line["reason"]) for line in rejected(tmp_path / "records")
    }
    assert lines == {
        ("train", 9, "duplicate_image_id"),
        ("val", 500, "missing_file"),
        ("val", 501, "missing_file"),
    }


def changed(**fields) -> dict:
    """An entry with some fields changed, those that are None left out."""
    entry = coco_entry("val", 7, "val2014") | fields
    return {key: value for key, value in entry.items() if value is not None}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, r"images\[9\]: expected an object, found 7"),
        (changed(split=None), r'images\[9\]: "split" is missing'),
        (changed(split="dev"), r'"split" must be one of train, restval, val, test, found "dev"'),
        (changed(split=["val"]), r'images\[9\]: "split" must be a string, found \["val"\]'),
        (changed(cocoid=None), r'images\[9\]: "cocoid" is missing'),
        (changed(cocoid="7"), r'images\[9\]: "cocoid" must be an integer, found "7"'),
        (changed(filepath=None), r'images\[9\]: "filepath" is missing'),
        (changed(filename=1), r'images\[9\]: "filename" must be a string, found 1'),
        (changed(sentences=None), r'images\[9\]: "sentences" is missing'),
        (changed(sentences={}), r'images\[9\]: "sentences" must be a list, found \{\}'),
        (changed(sentences=["a"]), r'images\[9\]: sentences\[0\]: expected an object, found "a"'),
        (changed(sentences=[{"sentid": 1}]), r'images\[9\]: sentences\[0\]: "raw" is missing'),
        (changed(sentences=[{"raw": "a"}]), r'images\[9\]: sentences\[0\]: "sentid" is missing'),
    ],
)
def test_wrong_entries_are_one_line_that_says_where(coco, entry, message):
    data_dir, entries = coco
    write_json(data_dir / "dataset_coco.json", "coco", [*entries, entry])
    with pytest.raises(UserError, match=message) as caught:
        datasets.source("coco2014").read(str(data_dir), "val")
    assert "\n" not in str(caught.value) and "dataset_coco.json: images[" in str(caught.value)


def test_files_that_are_not_karpathys_coco(coco, tmp_path):
    data_dir, entries = coco
    path = data_dir / "dataset_coco.json"
    write_json(path, "coco", [*entries, 7])
    with pytest.raises(UserError, match=r"coco\.json: images\[9\]: expected an object, found 7$"):
        build_coco2014(data_dir, tmp_path / "records")
    write_json(path, "flickr30k", entries)
    with pytest.raises(UserError, match=r'coco\.json: "dataset" is "flickr30k", expected "coco"'):
        build_coco2014(data_dir, tmp_path / "records")
    path.write_text('{"annotations": []}')
    with pytest.raises(UserError, match=r'coco\.json: no list "images": not a captions file'):
        build_coco2014(data_dir, tmp_path / "records")
    path.write_text(json.dumps({"images": entries})[:-100])
    with pytest.raises(UserError, match=r"coco\.json:1:\d+: damaged JSON, perhaps a file cut"):
        build_coco2014(data_dir, tmp_path / "records")
    path.unlink()
    with pytest.raises(
        UserError, match=r"coco\.json: no such file; it is in caption_datasets\.zip"
    ):
        build_coco2014(data_dir, tmp_path / "records")
    assert not list((tmp_path / "records").iterdir())


def test_coco2014_without_train_images_takes_a_vocabulary(coco, tmp_path, capsys):
    data_dir, _ = coco
    build_coco2014(data_dir, tmp_path / "first")
    (data_dir / "train2014").rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"train2014: no such folder; unpack train2014\.zip"):
        build_coco2014(data_dir, tmp_path / "second")
    info = build_coco2014(data_dir, tmp_path / "second", vocabulary=tmp_path / "first")
    assert list(info.splits) == ["val", "test"]
    assert "no train split: " in capsys.readouterr().out


def flickr_entries() -> list[dict]:
    names = {"1000268201_693b08cb0e.jpg": "train", "1000092795.jpg": "train", "77_a.jpg": "test"}
    return [
        {
            "filename": name,
            "split": split,
            "imgid": i,
            "sentences": sentences(i * 5, [*WORDS, ODD[0]]),
        }
        for i, (name, split) in enumerate(names.items())
    ]


@pytest.fixture
def flickr(tmp_path):
    """A folder with images/ of the three of `flickr_entries`, each jpeg(its place)."""
    (tmp_path / "flickr" / "images").mkdir(parents=True)
    for i, entry in enumerate(flickr_entries()):
        (tmp_path / "flickr" / "images" / entry["filename"]).write_bytes(jpeg(i))
    return tmp_path / "flickr"


@pytest.mark.parametrize("folder", ["flickr30k-images", "flickr30k_images", "images"])
def test_flickr30k(flickr, tmp_path, capsys, folder):
    (flickr / "images").rename(flickr / folder)
    write_json(flickr / "dataset_flickr30k.json", "flickr30k", flickr_entries())
    out = tmp_path / "records"
    build(dataset="flickr30k", data_dir=flickr, output_dir=out, min_word_count=1)
    train = {image.image_id: image for image in records(out, "train")}
    assert set(train) == {1000268201, 1000092795}
    assert train[1000092795].file_name == "1000092795.jpg"
    assert train[1000092795].captions == (*WORDS, ODD[0])
    assert train[1000092795].encoded == jpeg(1)
    assert [image.image_id for image in records(out, "test")] == [77]
    assert "no val split: " in capsys.readouterr().out
    assert verify(out, "--decode") == 0


def test_flickr30k_parts_that_are_missing(flickr, tmp_path):
    options = {"dataset": "flickr30k", "data_dir": flickr, "output_dir": tmp_path / "records"}
    with pytest.raises(UserError, match=r"flickr30k\.json: no such file; it is in caption_data"):
        build(**options)
    entries = flickr_entries()
    write_json(flickr / "dataset_flickr30k.json", "flickr30k", entries[2:])
    with pytest.raises(UserError, match=r"flickr30k\.json: no image has the split train; the voc"):
        build(**options)
    entries[1]["filename"] = "photo.jpg"
    write_json(flickr / "dataset_flickr30k.json", "flickr30k", entries)
    with pytest.raises(UserError, match=r"images\[1\]: expected `<number>_<hash>\.jpg`, found 'ph"):
        build(**options)
    (flickr / "images").rename(flickr / "pictures")
    with pytest.raises(UserError, match="image folder is missing: flickr30k-images or flickr30k_i"):
        build(**options)


def test_flickr8k_takes_karpathys_file_where_there_is_no_token_file(flickr, tmp_path, capsys):
    options = {"dataset": "flickr8k", "data_dir": flickr, "min_word_count": 1}
    with pytest.raises(UserError, match=r"token\.txt: no such file; .* or dataset_flickr8k\.json"):
        build(**options, output_dir=tmp_path / "none")
    write_json(flickr / "dataset_flickr8k.json", "flickr8k", flickr_entries())
    info = build(**options, output_dir=tmp_path / "json")
    assert list(info.splits) == ["train", "test"]
    assert {image.image_id for image in records(tmp_path / "json", "train")} == {
        1000268201,
        1000092795,
    }
    (flickr / "Flickr8k.token.txt").write_text("77_a.jpg#0\tof the token file\n")
    (flickr / "Flickr_8k.trainImages.txt").write_text("77_a.jpg\n")
    capsys.readouterr()
    info = build(**options, output_dir=tmp_path / "tokens")
    assert [image.captions for image in records(tmp_path / "tokens", "train")] == [
        ("of the token file",)
    ]
    printed = capsys.readouterr().out
    assert "dataset_flickr8k.json is ignored: Flickr8k.token.txt is present" in printed


def test_an_unknown_data_set_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match=r"--dataset=cocoa: expected one of coco2017, coco2014, "):
        build(dataset="cocoa", output_dir=tmp_path / "records")


def test_ids_of_one_space_name_the_same_pictures():
    spaces = {name: datasets.source(name).ids for name in datasets.NAMES}
    assert {name: space for name, space in spaces.items() if space != "own"} == {
        "coco2017": "coco",
        "coco2014": "coco",
        "flickr8k": "flickr",
        "flickr30k": "flickr",
    }
    for name in ("tfds:coco_captions", "tfds:coco_captions/2014:1.1.0", "tfds:coco_captions:1.1.0"):
        assert datasets.source(name).ids == "coco"
    assert datasets.source("tfds:coco_captions_of_mine").ids == "own"


def test_default_folders_are_folders_of_one_name():
    assert prepare.default_output_dir("flickr30k") == "data/records/flickr30k"
    name = "tfds:coco_captions/2014:1.1.0"
    assert prepare.default_output_dir(name) == "data/records/tfds_coco_captions_2014_1.1.0"
