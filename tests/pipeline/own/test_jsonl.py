"""Anybody's own data: one line of JSON an image, and the place of whatever is wrong with it."""

import json

import pytest

from cli.errors import UserError
from tests.support.records import WORDS, build, checksums, jpeg, records, rejected, verify


@pytest.fixture
def own(tmp_path):
    """A folder with photos/0.jpg to photos/5.jpg."""
    folder = tmp_path / "own"
    (folder / "photos").mkdir(parents=True)
    for number in range(6):
        (folder / "photos" / f"{number}.jpg").write_bytes(jpeg(number))
    return folder


def write(path, *lines) -> None:
    """Write a list; what is no str already becomes JSON."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")


def line(number: int, **more) -> dict:
    return {"image": f"photos/{number}.jpg", "captions": list(WORDS)} | more


def build_own(data_dir, output_dir, **options):
    named = {"dataset": "jsonl", "data_dir": data_dir, "output_dir": output_dir}
    return build(**({"min_word_count": 1} | named | options))


def test_own_images(own, tmp_path, capsys):
    texts = ["a dog 🐕\nruns\r\n  fast", " e\u0301 “not” normalised\t!"]
    lines = [line(0), line(1, captions=texts), "", line(2, split="train"), line(3, split="val")]
    write(own / "captions.jsonl", *lines)
    out = tmp_path / "records"
    info = build_own(own, out, verify="decode")
    train = {image.image_id: image for image in records(out, "train")}
    # Where no line has an id, its number is: an empty line counts.
    assert set(train) == {1, 2, 4}
    assert train[2].captions == tuple(texts) and train[1].captions == WORDS
    assert (train[4].file_name, train[4].encoded) == ("photos/2.jpg", jpeg(2))
    assert [image.image_id for image in records(out, "val")] == [5]
    assert list(info.splits) == ["train", "val"] and verify(out, "--decode") == 0
    assert "no test split: the list has no image for it" in capsys.readouterr().out


def test_a_list_may_have_another_name_and_absolute_paths(own, tmp_path):
    lines = [line(n, id=n - 2) for n in range(4)]
    write(own / "captions.jsonl", *lines)
    build_own(own, tmp_path / "records")
    for entry in lines:
        entry["image"] = str(own / entry["image"])
    write(own / "mine.jsonl", *lines)
    (own / "captions.jsonl").unlink()
    build_own(own / "mine.jsonl", tmp_path / "named")
    assert {image.image_id for image in records(tmp_path / "named", "train")} == {-2, -1, 0, 1}
    for one, other in zip(
        records(tmp_path / "records", "train"), records(tmp_path / "named", "train"), strict=True
    ):
        assert (one.image_id, one.encoded) == (other.image_id, other.encoded)


def test_images_that_are_left_out(own, tmp_path):
    (own / "photos" / "1.jpg").write_bytes(b"%!PS-Adobe-3.0")
    lines = [line(0), line(1), line(2, captions=[]), line(3, captions=[" ", "a dog"]), line(9)]
    write(own / "captions.jsonl", *lines)
    build_own(own, tmp_path / "records", max_rejected_fraction=0.9)
    found = {
        (r["image_id"], r.get("caption_id"), r["reason"]) for r in rejected(tmp_path / "records")
    }
    assert found == {
        (2, None, "unknown_format"),
        (3, None, "no_captions"),
        (4, "photos/3.jpg#0", "empty_caption"),
        (5, None, "missing_file"),
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ('{"image": "photos/1.jpg", "captions": ["a dog"}', ":2:47: damaged JSON: Expecting ','"),
        ('{"image": "photos/1.jpg"', ":2:25: damaged JSON: Expecting ',' delimiter"),
        ("[" * 100_000, ":2:1: damaged JSON: "),
        ('{"image": "photos/1.jpg", "captions": [' + "1" * 5000 + "]}", ":2:1: damaged JSON: Exc"),
        ("[]", ":2:1: expected an object, found []"),
        ('{"captions": ["a dog"]}', ':2:1: "image" is missing'),
        ('{"image": "photos/1.jpg"}', ':2:1: "captions" is missing'),
        ('{"image": 1, "captions": []}', ':2:11: "image" must be a string, found 1'),
        (
            '{"image" : "photos/1.jpg","captions":  "a dog"}',
            ':2:40: "captions" must be a list, found "a dog"',
        ),
        (
            '{"image": "photos/1.jpg", "captions": ["a", null]}',
            ':2:39: "captions"[1] must be a string, found null',
        ),
        (
            '{"image": "photos/1.jpg", "captions": ["a"], "lang": "en"}',
            ':2:54: unknown field "lang"; the fields are image, captions, id, split',
        ),
        (
            '{"image": "photos/1.jpg", "captions": ["a"], "split": "held"}',
            ':2:55: "split" must be one of train, val, test, found "held"',
        ),
        ('{"image": "photos/1.jpg", "captions": [], "split": []}', ':2:52: "split" must be one of'),
        (
            '{"image": "photos/0.jpg", "image": "photos/1.jpg", "captions": ["a"]}',
            ':2:36: "image" comes twice',
        ),
        (
            '{"captions": ["a"], "image": "photos/../photos/0.jpg"}',
            ':2:30: "image": "photos/../photos/0.jpg" is in line 1 too',
        ),
        (
            '{"image": "photos/1.jpg", "captions": ["a"], "id": 1}',
            ':2:52: "id" is present, unlike in the lines before: all lines must have one, or none',
        ),
    ],
)
def test_a_wrong_line_is_named_with_its_column(own, tmp_path, wrong, message):
    write(own / "captions.jsonl", line(0), wrong, line(5))
    with pytest.raises(UserError) as caught:
        build_own(own, tmp_path / "records")
    assert str(caught.value).startswith(f"{own}/captions.jsonl{message}")
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)
    assert not list((tmp_path / "records").glob("*"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"id": True}, '"id" must be an integer, found true'),
        ({"id": "7"}, '"id" must be an integer, found "7"'),
        ({"id": 2**63}, '"id" must be an integer, found 9223372036854775808'),
        ({"id": 0}, '"id": 0 is in line 1 too'),
        ({}, '"id" is missing, unlike in the lines before: all lines must have one, or none'),
    ],
)
def test_wrong_ids(own, tmp_path, wrong, message):
    write(own / "captions.jsonl", line(0, id=0), line(1, **wrong))
    with pytest.raises(UserError) as caught:
        build_own(own, tmp_path / "records")
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.jpg",
        "photos/../../secret.jpg",
        "{parent}/secret.jpg",
        "{parent}/own/../secret.jpg",
        "file://{parent}/secret.jpg",
        "s3://bucket/secret.jpg",
        "",
        ".",
        "photos/\0.jpg",
    ],
)
def test_a_list_names_nothing_outside_of_its_folder(own, tmp_path, name):
    (tmp_path / "secret.jpg").write_bytes(jpeg())
    name = name.format(parent=tmp_path)
    write(own / "captions.jsonl", line(0), line(1, image=name))
    with pytest.raises(UserError, match=rf':2:11: "image" must name a file in {own}, found "'):
        build_own(own, tmp_path / "records")


def test_of_many_wrong_lines_the_first_few_are_shown(own, tmp_path):
    write(own / "captions.jsonl", line(0), *["{}"] * 1200)
    with pytest.raises(UserError) as caught:
        build_own(own, tmp_path / "records")
    lines = str(caught.value).split("\n")
    assert [text.split("captions.jsonl")[1][:5] for text in lines[:5]] == [
        f":{number}:1:" for number in range(2, 7)
    ]
    assert lines[5:] == ["(5 of 1,200 wrong lines are shown)"]


def test_lists_with_nothing_to_build(own, tmp_path):
    out = tmp_path / "records"
    with pytest.raises(UserError, match=r'captions\.jsonl: no such file; .*\{"image": "photos/1'):
        build_own(own, out)
    with pytest.raises(UserError, match=r"other\.jsonl: no such file"):
        build_own(own / "other.jsonl", out)
    write(own / "captions.jsonl", "", " ")
    with pytest.raises(UserError, match="own: lists no image"):
        build_own(own, out)
    write(own / "captions.jsonl", line(0, split="val"))
    with pytest.raises(
        UserError, match="all images are in val, none in train; the vocabulary is bui"
    ):
        build_own(own, out)
    (own / "captions.jsonl").write_bytes(b'{"image": "\xff"}')
    with pytest.raises(UserError, match=r"captions\.jsonl: not UTF-8 at byte 11"):
        build_own(own, out)


def test_a_longer_list_keeps_the_ids_it_gave(own, tmp_path):
    write(own / "captions.jsonl", line(0), line(1), line(2, split="val"))
    build_own(own, tmp_path / "records")
    before = checksums(tmp_path / "records")
    write(own / "captions.jsonl", line(0), line(1), line(2, split="val"), line(3, split="test"))
    build_own(own, tmp_path / "records")
    assert before.items() <= checksums(tmp_path / "records").items()


def test_fractions_and_other_names_of_splits(own, tmp_path):
    write(own / "captions.jsonl", *(line(n) for n in range(5)), line(5, split="Dev"))
    info = build_own(own, tmp_path / "records", test_fraction=0.5)
    listed = {name: split.total("listed") for name, split in info.splits.items()}
    assert listed["val"] == 1 and listed["test"] > 0 and sum(listed.values()) == 6


def test_names_from_windows_and_missing_images(own, tmp_path, capsys):
    write(
        own / "captions.jsonl",
        line(0, image="photos\\0.jpg"),
        line(1),
        line(2, image="photos/2.jpgg"),
    )
    build_own(own, tmp_path / "records", max_rejected_fraction=0.5)
    assert [image.file_name for image in records(tmp_path / "records", "train")] == [
        "photos/0.jpg",
        "photos/1.jpg",
    ]
    message = (
        f"{own}/photos/2.jpgg ({own}/captions.jsonl:3): no such file; did you mean {own}/photos"
    )
    assert f"1 of 3 images are missing: {message}/2.jpg?" in capsys.readouterr().out
