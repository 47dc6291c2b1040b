"""Parquet: the layouts of the Hugging Face hub, column types of every kind, damage."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from cli.errors import UsageError, UserError
from pipeline.datasets.own.entries import image_id_of
from pipeline.datasets.own.shards import parquet, row_groups
from tests.support.parquets import IMAGE, hub, image, write_parquet
from tests.support.records import WORDS, build, checksums, contents, jpeg, records, rejected, verify

SMALL = {"dataset": "parquet", "min_word_count": 1, "max_rejected_fraction": 0.99}


def build_parquet(data_dir: Path, output_dir: Path, *args: str, **options):
    return build(*args, **(SMALL | {"data_dir": data_dir, "output_dir": output_dir} | options))


def captions(records_dir: Path, split: str = "train") -> dict[str, tuple[str, ...]]:
    """File name -> captions of the records."""
    return {record.file_name: record.captions for record in records(records_dir, split)}


def one_file(tmp_path: Path, columns: dict, **options) -> dict[str, tuple[str, ...]]:
    """The captions by file name that a build of one file gives."""
    write_parquet(tmp_path / "d/0.parquet", columns)
    build_parquet(tmp_path / "d", tmp_path / "out", **options)
    return captions(tmp_path / "out")


def test_the_hubs_layout(tmp_path, capsys):
    """The records are those that the same images give as files."""
    hub(tmp_path / "d", "train", 2, range(40))
    hub(tmp_path / "d", "validation", 1, range(100, 110))
    hub(tmp_path / "d", "test", 1, range(200, 205))
    build_parquet(tmp_path / "d", tmp_path / "out", train_shards=3)
    assert "images from the column image, captions from caption" in capsys.readouterr().out
    assert rejected(tmp_path / "out") == []
    split_of = {"train": range(40), "val": range(100, 110), "test": range(200, 205)}
    lines = []
    (tmp_path / "files").mkdir()
    for split, numbers in split_of.items():
        for number in numbers:
            name = f"{number}.jpg"
            (tmp_path / "files" / name).write_bytes(jpeg(number))
            line = {"image": name, "captions": [WORDS[number % 5]], "id": image_id_of(name)}
            lines.append(json.dumps(line | {"split": split}))
    (tmp_path / "files/captions.jsonl").write_text("\n".join(lines))
    named = {"dataset": "jsonl", "data_dir": tmp_path / "files", "output_dir": tmp_path / "same"}
    build(**(SMALL | named), train_shards=3)
    for split in split_of:
        ours, theirs = (
            {r.image_id: (r.file_name, r.captions, r.caption_ids, r.encoded) for r in stored}
            for stored in (records(tmp_path / out, split) for out in ("out", "same"))
        )
        assert ours == theirs
    assert (
        contents(tmp_path / "out")["vocabulary.tsv"]
        == contents(tmp_path / "same")["vocabulary.tsv"]
    )
    assert verify(tmp_path / "out", "--decode", f"--data_dir={tmp_path / 'd'}") == 0


@pytest.mark.slow
def test_bytes_do_not_depend_on_workers_place_or_new_files(tmp_path):
    hub(tmp_path / "d", "train", 2, range(40))
    options = {"train_shards": 4, "val_fraction": 0.3}
    build_parquet(tmp_path / "d", tmp_path / "one", **options)
    workers = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    build_parquet(tmp_path / "d", tmp_path / "two", *workers, **options)
    assert checksums(tmp_path / "one") == checksums(tmp_path / "two")
    build_parquet(
        tmp_path / "d",
        tmp_path / "three",
        "--direct_running_mode=multi_threading",
        "--direct_num_workers=3",
        **options,
    )
    assert checksums(tmp_path / "one") == checksums(tmp_path / "three")
    (tmp_path / "d").rename(tmp_path / "elsewhere")
    build_parquet(tmp_path / "elsewhere", tmp_path / "moved", **options)
    assert checksums(tmp_path / "one") == checksums(tmp_path / "moved")
    before = {split: set(captions(tmp_path / "one", split)) for split in ("train", "val")}
    assert min(map(len, before.values())) > 5
    write_parquet(
        tmp_path / "elsewhere/data/train-more.parquet",
        {"image": [image(n) for n in range(300, 320)], "caption": ["a dog"] * 20},
    )
    build_parquet(tmp_path / "elsewhere", tmp_path / "more", **options)
    for split, names in before.items():
        assert names < set(captions(tmp_path / "more", split))


def test_row_groups_are_decoded_a_few_times(tmp_path, monkeypatch):
    """Shards take runs of rows: 40 shards of random rows would decode each row group 40 times.

    Four shards share a row group here. In the worst order each of them begins at its first row.
    """
    decoded = []
    batches = row_groups.ParquetFile._batches

    def counting(self, group, columns, rows):
        for batch in batches(self, group, columns, rows):
            if columns == ["image"]:
                decoded.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(row_groups, "_IMAGE_ROWS", 2)
    monkeypatch.setattr(row_groups.ParquetFile, "_batches", counting)
    hub(tmp_path / "d", "train", 1, range(200), rows=20)
    build_parquet(tmp_path / "d", tmp_path / "out", train_shards=40)
    assert 200 <= sum(decoded) <= 600
    shuffled = [record.file_name for record in records(tmp_path / "out", "train")]
    assert shuffled != sorted(shuffled, key=lambda name: int(name[:-4]))


TEXTS = ["a dog", "two dogs", None]
OBJECTS = pa.list_(pa.struct([("raw", pa.string()), ("tokens", pa.list_(pa.string()))]))


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("caption", TEXTS, [("a dog",), ("two dogs",), None]),
        ("Text", pa.array(TEXTS, pa.large_string()), [("a dog",), ("two dogs",), None]),
        ("caption", pa.array(TEXTS).dictionary_encode(), [("a dog",), ("two dogs",), None]),
        ("captions", [["a dog", None, "a cat"], [], None], [("a dog", "a cat"), None, None]),
        (
            "answer",
            pa.array([["a", "b"], ["c"], None], pa.large_list(pa.large_string())),
            [("a", "b"), ("c",), None],
        ),
        (
            "sentences",
            pa.array([[{"raw": "a dog", "tokens": ["a"]}, None, {"raw": None}], [], None], OBJECTS),
            [("a dog",), None, None],
        ),
        (
            "caption",
            [{"text": ["a", "b"]}, {"text": None}, None],
            [("a", "b"), None, None],
        ),
    ],
)
def test_types_of_captions(tmp_path, name, column, expected):
    found = one_file(tmp_path, {"image": [image(n) for n in range(3)], name: column})
    texts = {f"{n}.jpg": texts for n, texts in enumerate(expected) if texts}
    assert found == texts
    lines = {line["file_name"]: line["reason"] for line in rejected(tmp_path / "out")}
    assert lines == {f"{n}.jpg": "no_captions" for n, texts in enumerate(expected) if not texts}


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_images_that_are_bytes_alone(tmp_path, kind):
    images = pa.array([jpeg(0), None, b"", jpeg(3)], kind)
    found = one_file(tmp_path, {"jpg": images, "caption": ["a", "b", "c", "d"]})
    assert found == {"0/000000": ("a",), "0/000003": ("d",)}
    lines = {line["file_name"]: line["reason"] for line in rejected(tmp_path / "out")}
    assert lines == {"0/000001": "missing_file", "0/000002": "empty_file"}


def test_images_that_are_null_or_have_odd_paths(tmp_path):
    values = [
        image(0, None),
        None,
        {"bytes": None, "path": None},
        image(3, "/root/.cache/3.jpg"),
        image(4, "../4.jpg"),
        image(5, "a/./b.jpg"),
        {"bytes": None, "path": "none.jpg"},
    ]
    found = one_file(tmp_path, {"image": values, "caption": list("abcdefg")})
    assert found == {"0/000000": ("a",), "0/000003": ("d",), "0/000004": ("e",), "a/b.jpg": ("f",)}
    reasons = {line["file_name"]: line["reason"] for line in rejected(tmp_path / "out")}
    assert reasons == dict.fromkeys(("0/000001", "0/000002", "none.jpg"), "missing_file")


def test_a_large_struct_of_another_library(tmp_path):
    kind = pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())])
    values = pa.array([{"bytes": jpeg(1), "path": "1.jpg"}], kind)
    assert one_file(tmp_path, {"image": values, "caption": ["a"]}) == {"1.jpg": ("a",)}


@pytest.mark.parametrize("as_object", [True, False])
def test_paths_are_relative_to_the_file(tmp_path, as_object):
    for number in range(2):
        path = tmp_path / f"d/pictures/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    names = ["pictures/0.jpg", "pictures/1.jpg", "pictures/0.jpg", "pictures/2.jpg"]
    column = [{"bytes": None, "path": name} for name in names] if as_object else pa.array(names)
    found = one_file(tmp_path, {"image": column, "text": ["a", "b", "c", "d"]})
    assert found == {"pictures/0.jpg": ("a", "c"), "pictures/1.jpg": ("b",)}
    assert [line["reason"] for line in rejected(tmp_path / "out")] == ["missing_file"]


def test_a_path_outside_is_refused(tmp_path):
    (tmp_path / "away.jpg").write_bytes(jpeg(1))
    with pytest.raises(UserError, match=r'0\.parquet: row 0: .*"\.\./away\.jpg"'):
        one_file(tmp_path, {"image": pa.array(["../away.jpg"]), "text": ["a"]})


def test_rows_of_one_path_are_one_image_if_their_bytes_are_equal(tmp_path):
    values = [image(n // 3, f"{n // 3}.jpg") for n in range(6)] + [image(9, "0.jpg")]
    found = one_file(tmp_path, {"image": values, "caption": list("abcdefg")})
    assert found == {"0.jpg": ("a", "b", "c"), "1.jpg": ("d", "e", "f"), "0/000006": ("g",)}


def test_the_same_path_in_two_files_is_not_the_same_image(tmp_path):
    for number, split in enumerate(("train", "test")):
        columns = {"image": [image(number, "image.jpg")], "caption": ["a dog"]}
        write_parquet(tmp_path / f"d/{split}.parquet", columns)
    info = build_parquet(tmp_path / "d", tmp_path / "out")
    assert info.splits["train"].total("images") == info.splits["test"].total("images") == 1


def test_a_column_of_splits(tmp_path):
    """As in Flickr30k of the hub: the name of its file says test, its column says more."""
    columns = {
        "image": [image(n) for n in range(4)],
        "caption": [["a dog", "two dogs"]] * 4,
        "split": ["train", "val", "test", None],
        "part": pa.array(["test", "train", "val", "train"]).dictionary_encode(),
    }
    write_parquet(tmp_path / "d/TEST-00000-of-00001.parquet", columns)
    build_parquet(tmp_path / "d", tmp_path / "out")
    assert set(captions(tmp_path / "out", "test")) == {"2.jpg", "3.jpg"}
    assert set(captions(tmp_path / "out", "val")) == {"1.jpg"}
    build_parquet(tmp_path / "d", tmp_path / "out", split_column="part")
    assert set(captions(tmp_path / "out", "train")) == {"1.jpg", "3.jpg"}
    with pytest.raises(UserError, match=r'row 0: the split must be one of .* found "a dog"'):
        build_parquet(tmp_path / "d", tmp_path / "out", split_column="caption")


def test_columns_by_flag(tmp_path):
    columns = {
        "image": [image(0)],
        "mask": pa.array([image(1)], IMAGE),
        "caption": ["no"],
        "caption_0": ["a dog"],
        "caption_1": ["two dogs"],
        "talk": pa.array([[{"raw": "no", "words": "a cat"}]]),
    }
    write_parquet(tmp_path / "d/0.parquet", columns)

    def built(**options) -> list:
        build_parquet(tmp_path / "d", tmp_path / "out", **options)
        return [(r.encoded, r.captions) for r in records(tmp_path / "out", "train")]

    assert built() == [(jpeg(0), ("no",))]
    assert built(image_column="mask", caption_column="caption_0,caption_1") == [
        (jpeg(1), ("a dog", "two dogs"))
    ]
    assert built(image_column="2", caption_column="talk.words") == [(jpeg(1), ("a cat",))]


def test_numbered_captions_are_found(tmp_path):
    columns = {"image": [image(0)], "caption_0": ["a dog"], "caption_1": ["two dogs"]}
    assert one_file(tmp_path, columns) == {"0.jpg": ("a dog", "two dogs")}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"text": ["a"]}, {}, "no column holds images; .* the columns are text: string"),
        ({"image": [image(0)], "n": [1]}, {}, "which column holds the captions.* n: int64"),
        (
            {"image": [image(0)], "caption": ["a"], "captions": ["b"]},
            {},
            "which column holds the captions",
        ),
        (
            {"a": pa.array([image(0)], IMAGE), "b": pa.array([image(0)], IMAGE), "text": ["a"]},
            {},
            r"which column holds the images\? Say --image_column=NAME; .* a: struct<bytes: binary",
        ),
        ({"image": [image(0)], "text": ["a"]}, {"caption_column": "x"}, "no column x, which --cap"),
        ({"image": [image(0)], "text": ["a"]}, {"image_column": "7"}, "no column 7, which --image"),
        ({"image": [image(0)], "n": [1]}, {"caption_column": "n"}, "--caption_column=n holds no t"),
        (
            {"n": [1], "text": ["a"]},
            {"image_column": "n"},
            "--image_column=n holds neither images nor paths",
        ),
    ],
)
def test_unclear_columns_are_one_line(tmp_path, columns, options, message):
    with pytest.raises(UserError, match=message) as caught:
        one_file(tmp_path, columns, **options)
    assert str(caught.value).startswith(f"{tmp_path}/d/0.parquet: ")
    assert "\n" not in str(caught.value)


def test_a_flag_of_other_sources_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--separator"):
        build_parquet(tmp_path, tmp_path / "out", separator=";")


def good_parquet(tmp_path: Path) -> bytes:
    columns = {"image": [image(n) for n in range(40)], "caption": ["a dog"] * 40}
    return write_parquet(tmp_path / "good.parquet", columns, write_page_checksum=True).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "no Parquet file, or one cut short"),
        (lambda data: b"PAR1", "no Parquet file, or one cut short"),
        (lambda data: data[:5000], "no Parquet file, or one cut short"),
        (lambda data: data[:-4] + b"PARE", "encrypted"),
        (lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1", "a footer of 2,147,483,647 bytes"),
        (lambda data: data[:-200] + bytes(192) + data[-8:], "cannot be read: "),
        (lambda data: data[:3000] + bytes(4000) + data[7000:], "row group 0: cannot be read: "),
    ],
)
def test_damage_is_one_line(tmp_path, change, message):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/0.parquet").write_bytes(change(good_parquet(tmp_path)))
    with pytest.raises(UserError, match=message) as caught:
        build_parquet(tmp_path / "d", tmp_path / "out")
    assert str(caught.value).startswith(f"{tmp_path}/d/0.parquet") and "\n" not in str(caught.value)


def test_a_checksum_of_a_page_is_checked(tmp_path):
    columns = {"image": [image(n) for n in range(4)], "caption": ["a dog"] * 4}
    options = {"write_page_checksum": True, "compression": "none"}
    options |= {"use_dictionary": False, "write_statistics": False}
    path = write_parquet(tmp_path / "d/0.parquet", columns, **options)
    content = bytearray(path.read_bytes())
    content[content.index(jpeg(2)) + 700] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"row group 0: cannot be read: .*(CRC|checksum)"):
        build_parquet(tmp_path / "d", tmp_path / "out")


def test_texts_that_are_no_utf8_are_one_line(tmp_path):
    broken = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    with pytest.raises(UserError, match=r"0\.parquet: row group 0: cannot be read: .*utf-8"):
        one_file(tmp_path, {"image": [image(0)], "caption": broken})


def test_files_without_rows_and_folders_without_files(tmp_path):
    with pytest.raises(UserError, match="lists no image"):
        one_file(tmp_path, {"image": [], "caption": pa.array([], pa.string())})
    with pytest.raises(UserError, match=r"no file that ends in \.parquet lies there"):
        build_parquet(tmp_path / "none", tmp_path / "out")
    write_parquet(tmp_path / "e/metadata.parquet", {"file_name": ["a.jpg"], "text": ["a"]})
    with pytest.raises(UserError, match=r"no file that ends in \.parquet lies there"):
        build_parquet(tmp_path / "e", tmp_path / "out")


def test_a_changed_file_is_built_again(tmp_path, capsys):
    columns = {"image": [image(n) for n in range(4)], "caption": ["a dog"] * 4}
    write_parquet(tmp_path / "d/0.parquet", columns)
    build_parquet(tmp_path / "d", tmp_path / "out")
    build_parquet(tmp_path / "d", tmp_path / "out")
    assert "1 of 1 shards were finished before and kept" in capsys.readouterr().out
    columns["image"][2] = {"bytes": jpeg(77), "path": "2.jpg"}
    write_parquet(tmp_path / "d/0.parquet", columns)
    build_parquet(tmp_path / "d", tmp_path / "out")
    assert "kept" not in capsys.readouterr().out
    assert jpeg(77) in [record.encoded for record in records(tmp_path / "out", "train")]


def test_a_file_that_changes_while_it_is_read_is_one_line(tmp_path):
    path = write_parquet(tmp_path / "0.parquet", {"image": [image(0), image(1)]})
    file = row_groups.ParquetFile(str(path))
    reader = row_groups.ImageReader(lambda file: "image")
    place = row_groups.Row(str(path), 0, 1, file.version)
    assert reader.value(place)["bytes"] == jpeg(1)
    assert reader.value(place._replace(row=0))["bytes"] == jpeg(0)
    with pytest.raises(UserError, match="row group 0 has no row 2"):
        reader.value(place._replace(row=2))
    write_parquet(tmp_path / "0.parquet", {"image": [image(2), image(3)], "n": [1, 2]})
    fresh = row_groups.ImageReader(lambda file: "image")
    with pytest.raises(UserError, match="has changed since its rows were listed"):
        fresh.value(place)


def test_a_listing_reads_no_images(tmp_path, monkeypatch):
    hub(tmp_path / "d", "train", 2, range(20))
    monkeypatch.setattr(row_groups.ParquetFile, "values", None)
    source = parquet.Parquet(parquet.SourceOptions())
    assert len(source.read(str(tmp_path / "d"), "train").images) == 20
    schema = pq.read_schema(tmp_path / "d/data/train-00000-of-00002.parquet")
    assert schema.names == ["image", "caption"]
