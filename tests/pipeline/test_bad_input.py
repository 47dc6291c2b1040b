"""What strangers' folders hold: each bad thing is one clear line, and good data survives it."""

import json

import pytest

from cli.errors import UserError
from pipeline import datasets
from pipeline.job.describe import read_listing
from tests.support.records import (
    WORDS,
    CocoFolder,
    build,
    build_coco,
    jpeg,
    records,
    rejected,
    verify,
)


@pytest.fixture
def folder(tmp_path):
    return CocoFolder(tmp_path / "coco")


def png() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "PNG")
    return file.getvalue()


def damaged(data: bytes) -> bytes:
    """Whole as far as markers tell, a quarter of its entropy-coded data gone."""
    return data[: len(data) // 2] + data[-len(data) // 4 :]


def test_every_bad_image_is_left_out_with_its_reason(folder, tmp_path):
    bad = {
        20: (jpeg(20)[:-300], "truncated"),
        21: (png()[:40], "truncated"),
        22: (b"", "empty_file"),
        23: (b"<!DOCTYPE html><html><body>404</body></html>", "unknown_format"),
        24: (None, "missing_file"),
        25: (damaged(jpeg(25)), "corrupt"),
        26: (jpeg(26).replace(b"\x08\0\x20\0\x28", b"\x08\xff\xff\xff\xff"), "too_large"),
    }
    for image_id, (data, _) in bad.items():
        folder.add("train", image_id, data)
    folder.add("train", 40, jpeg(40, mode="CMYK"))
    folder.add("train", 41, jpeg(41, mode="L"))
    folder.add("train", 42, jpeg(42) + b"\0" * 5000)
    (tmp_path / "outside.jpg").write_bytes(jpeg())
    folder.add("train", 43, None, name="../../outside.jpg")
    folder.add("train", 44, None, name=str(tmp_path / "outside.jpg"))
    folder.add("train", 45, None, name="no\0name.jpg")
    folder.add("train", 46, None, name="n" * 300 + ".jpg")
    folder.add("train", 47, None, name=".")
    folder.write()
    out = tmp_path / "records"
    info = build_coco(folder, out, verify="decode", max_rejected_fraction=0.9)
    reasons = {line["image_id"]: line["reason"] for line in rejected(out)}
    expected = {image_id: reason for image_id, (_, reason) in bad.items()}
    assert reasons == expected | dict.fromkeys(range(43, 48), "missing_file")
    kept = {image.image_id: image for image in records(out, "train")}
    assert sorted(kept) == [*range(12), 40, 41, 42]
    assert kept[42].encoded == jpeg(42) + b"\0" * 5000
    assert info.splits["train"].rejected["missing_file"] == 6
    assert verify(out, "--decode") == 0


def test_captions_come_through_untouched(folder, tmp_path):
    texts = ["a dog 🐕\nruns\r\n fast", "Ünïcode “quotes”\t!", "e\u0301 not normalised", " a dog "]
    folder.add("train", 30, jpeg(30), [*texts, "", "  \n", "...", "half \ud83d of a pair \ud83d"])
    folder.write()
    out = tmp_path / "records"
    info = build_coco(folder, out)
    image = next(image for image in records(out, "train") if image.image_id == 30)
    assert image.captions == (*texts, "half \ufffd of a pair \ufffd")
    assert info.splits["train"].rejected == {"empty_caption": 3}
    assert verify(out) == 0


def test_images_and_captions_that_do_not_fit_together(folder, tmp_path):
    folder.add("train", 31, jpeg(31), [])
    folder.add("train", 32, jpeg(32), [" "])
    folder.images["train"].append({"id": 3, "file_name": "000000000004.jpg"})
    folder.captions["train"].append({"id": 900, "image_id": 77, "caption": "of nothing"})
    folder.write()
    out = tmp_path / "records"
    info = build_coco(folder, out, max_rejected_fraction=0.5)
    lines = {(line["image_id"], line.get("caption_id"), line["reason"]) for line in rejected(out)}
    assert lines == {
        (31, None, "no_captions"),
        (32, 60, "empty_caption"),
        (32, None, "no_captions"),
        (3, None, "duplicate_image_id"),
        (77, 900, "unknown_image_id"),
    }
    train = info.splits["train"]
    assert (train.total("listed"), train.total("images")) == (15, 12)
    first = next(image for image in records(out, "train") if image.image_id == 3)
    assert first.encoded == jpeg(3) and len(first.captions) == len(WORDS)


def cut(text: str) -> str:
    return text[: len(text) // 2]


def with_entry(key: str, entry) -> str:
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}
    content[key] = [*content[key], entry]
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r":1:\d+: damaged JSON, perhaps a file cut short: .* of [\d,]+\)"),
        ("[]", r': expected an object with "images" and "annotations"'),
        ('{"images": []}', r': no list "annotations": not a captions file'),
        ('{"images": [], "annotations": []}', "no images are listed for the split train"),
        (with_entry("images", {"id": "1", "file_name": "a"}), r'images\[1\]: "id" must be an int'),
        (with_entry("images", {"id": True, "file_name": "a"}), r'images\[1\]: "id" must be an int'),
        (with_entry("images", {"id": 2**63, "file_name": "a"}), r'images\[1\]: "id" must be an'),
        (with_entry("images", {"id": 2}), r'images\[1\]: "file_name" is missing'),
        (with_entry("images", 7), r"images\[1\]: expected an object, found 7"),
        (
            with_entry("annotations", {"id": 2, "image_id": 1, "caption": None}),
            r'annotations\[0\]: "caption" must be a string, found null',
        ),
        (
            with_entry("annotations", {"id": 2, "caption": "a"}),
            r'annotations\[0\]: "image_id" is missing',
        ),
    ],
)
def test_bad_annotations_are_one_line_that_says_where(folder, text, message):
    path = folder.annotations("train")
    path.write_text(cut(path.read_text()) if text is None else text)
    with pytest.raises(UserError, match=message) as caught:
        read_listing(datasets.source("coco2017"), str(folder.path), "train")
    assert "\n" not in str(caught.value) and str(folder.path) in str(caught.value)


def test_annotations_that_are_no_text(folder, tmp_path):
    folder.annotations("val").write_bytes(b'{"images": "\xff\xfe"}')
    with pytest.raises(UserError, match=r"^[^\n]*captions_val2017\.json: not UTF-8 at byte 12"):
        build_coco(folder, tmp_path / "records", max_rejected_fraction=1)
    assert not (tmp_path / "records" / "dataset_info.json").exists()


@pytest.mark.parametrize("missing", ["annotations/captions_val2017.json", "train2017"])
def test_missing_parts_of_coco_are_named(folder, tmp_path, missing):
    (folder.path / missing).rename(tmp_path / "away")
    with pytest.raises(UserError, match=rf"{missing}: no such .*cocodataset\.org"):
        build_coco(folder, tmp_path / "records")


def test_output_that_cannot_be_made(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/records: cannot be made: Not a directory"):
        build_coco(folder, tmp_path / "file" / "records")


def test_unreadable_vocabulary(folder, tmp_path):
    (tmp_path / "vocabulary.tsv").write_text("a\t1\n")
    with pytest.raises(UserError, match="the first four words must be <pad>"):
        build_coco(folder, tmp_path / "records", vocabulary=tmp_path / "vocabulary.tsv")


def test_flickr8k_names_without_a_number(tmp_path):
    source = tmp_path / "flickr"
    (source / "images").mkdir(parents=True)
    (source / "Flickr8k.token.txt").write_text("a.jpg#0\ta dog\n")
    (source / "Flickr_8k.trainImages.txt").write_text("a.jpg\n")
    with pytest.raises(UserError, match=r"trainImages\.txt:1: expected `<number>_<hash>\.jpg`"):
        build(dataset="flickr8k", data_dir=source, output_dir=tmp_path / "records")
