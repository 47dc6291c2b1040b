"""WebDataset: img2dataset's shards, and tars with everything that a tar can hold."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from cli.errors import UserError
from pipeline.datasets.own.entries import image_id_of
from pipeline.datasets.own.shards import tar_members
from tests.support.records import WORDS, build, checksums, jpeg, records, rejected, verify
from tests.support.tars import img2dataset, special, write_tar

SMALL = {"dataset": "webdataset", "min_word_count": 1, "max_rejected_fraction": 0.99}


def build_tars(data_dir: Path, output_dir: Path, *args: str, **options):
    return build(*args, **(SMALL | {"data_dir": data_dir, "output_dir": output_dir} | options))


def stored(records_dir: Path, split: str = "train") -> dict[str, tuple[str, ...]]:
    """File name -> captions of the records."""
    return {record.file_name: record.captions for record in records(records_dir, split)}


def test_img2dataset(tmp_path, capsys):
    """What img2dataset has written gives the shards that the same images give as files."""
    for shard in range(3):
        img2dataset(tmp_path / "tars", shard, range(10 * shard, 10 * shard + 10))
    build_tars(tmp_path / "tars", tmp_path / "out", val_fraction=0.3, train_shards=3)
    assert "passed over" not in capsys.readouterr().out
    assert rejected(tmp_path / "out") == []
    split_of = {r.file_name: s for s in ("train", "val") for r in records(tmp_path / "out", s)}
    lines = []
    for number in range(30):
        name = f"{number // 10:05}/{number // 10:05}{number:04}.jpg"
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(jpeg(number))
        line = {"image": name, "captions": [WORDS[number % 5]], "id": image_id_of(name)}
        lines.append(json.dumps(line | {"split": split_of[name]}))
    (tmp_path / "files/captions.jsonl").write_text("\n".join(lines))
    named = {"dataset": "jsonl", "data_dir": tmp_path / "files", "output_dir": tmp_path / "same"}
    build(**(SMALL | named), train_shards=3)
    assert checksums(tmp_path / "out") == checksums(tmp_path / "same")
    assert verify(tmp_path / "out", "--decode", f"--data_dir={tmp_path / 'tars'}") == 0


def test_bytes_do_not_depend_on_workers_or_on_new_shards(tmp_path):
    for shard in range(2):
        img2dataset(tmp_path / "tars", shard, range(10 * shard, 10 * shard + 10))
    options = {"train_shards": 4, "val_fraction": 0.2}
    build_tars(tmp_path / "tars", tmp_path / "one", **options)
    # Threads of one process; test_parquet.py has processes.
    workers = ("--direct_num_workers=2", "--direct_running_mode=multi_threading")
    build_tars(tmp_path / "tars", tmp_path / "two", *workers, **options)
    assert checksums(tmp_path / "one") == checksums(tmp_path / "two")
    before = {split: set(stored(tmp_path / "one", split)) for split in ("train", "val")}
    img2dataset(tmp_path / "tars", 7, range(70, 80))
    build_tars(tmp_path / "tars", tmp_path / "more", **options)
    for split, names in before.items():
        assert names < set(stored(tmp_path / "more", split))


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train/0.tar", "val/0.tar", "test/0.tar"),
        ("train/0.tar", "validation/0.tar", "test/0.tar"),
        ("data/train/0.tar", "data/dev/0.tar", "data/test/0.tar"),
        ("train-00000.tar", "valid-00000.tar", "test-00000.tar"),
        ("coco_train-0.tar", "coco_val-0.tar", "coco_TEST-0.tar"),
        ("data/train-00000-of-00001.tar", "data/val-00000-of-00001.tar", "test.tar"),
    ],
)
def test_splits_by_folder_or_name(tmp_path, train, val, test):
    for number, name in enumerate((train, val, test)):
        write_tar(tmp_path / "d" / name, [("0.jpg", jpeg(number)), ("0.txt", b"a dog runs")])
    info = build_tars(tmp_path / "d", tmp_path / "out")
    for number, split in enumerate(("train", "val", "test")):
        (record,) = records(tmp_path / "out", split)
        assert record.encoded == jpeg(number)
    assert list(info.splits) == ["train", "val", "test"]


def test_a_shard_of_no_clear_split_is_refused(tmp_path):
    for name in ("train-0.tar", "val-0.tar", "more.tar"):
        write_tar(tmp_path / "d" / name, [("0.jpg", jpeg()), ("0.txt", b"a dog")])
    with pytest.raises(UserError, match=r"more\.tar: neither its folder nor its name says"):
        build_tars(tmp_path / "d", tmp_path / "out")


def test_missing_shards_are_named(tmp_path, capsys):
    write_tar(tmp_path / "d/train-00001-of-00004.tar", [("0.jpg", jpeg()), ("0.txt", b"a dog")])
    build_tars(tmp_path / "d", tmp_path / "out")
    assert "train: 3 of 4 files are missing, number 00000 the first" in capsys.readouterr().out


def test_captions(tmp_path):
    """From .json, else from the lines of .txt, whatever the order of the members."""
    samples = {
        "one": {"txt": "a dog “runs” \n".encode()},
        "lines": {"txt": b"a dog\r\n\ntwo dogs\n"},
        "mark": {"txt": "\ufeffa dog".encode()},
        "caption": {"json": b'{"caption": "a cat", "width": 3}', "txt": b"no"},
        "list": {"json": json.dumps({"captions": ["a cat", None, "a\nball"]}).encode()},
        "null": {"json": b'{"caption": null}', "txt": b"from text"},
        "nan": {"json": b'{"caption": NaN}', "txt": b"from text"},
        "boxes": {"json": b"[1, 2]", "txt": b"from text"},
    }
    members = []
    for number, (key, texts) in enumerate(samples.items()):
        image = (f"a.b/{key}.JPG", jpeg(number))
        parts = [(f"a.b/{key}.{suffix}", text) for suffix, text in texts.items()]
        members += [*parts, image] if number % 2 else [image, *parts]
    # Texts of all images after all images, as a sorted list of files gives them.
    members.sort(key=lambda member: member[0][-3:])
    write_tar(tmp_path / "d/0.tar", members)
    build_tars(tmp_path / "d", tmp_path / "out")
    assert stored(tmp_path / "out") == {
        "0/a.b/one.JPG": ("a dog “runs” ",),
        "0/a.b/lines.JPG": ("a dog", "two dogs"),
        "0/a.b/mark.JPG": ("a dog",),
        "0/a.b/caption.JPG": ("a cat",),
        "0/a.b/list.JPG": ("a cat", "a\nball"),
        "0/a.b/null.JPG": ("from text",),
        "0/a.b/nan.JPG": ("from text",),
        "0/a.b/boxes.JPG": ("from text",),
    }


def test_one_tar_is_a_data_set_and_equal_keys_in_two_are_two_images(tmp_path):
    for number in range(2):
        write_tar(tmp_path / f"d/{number}.tar", [("0.jpg", jpeg(number)), ("0.txt", b"a dog")])
    build_tars(tmp_path / "d", tmp_path / "out")
    assert {r.file_name: r.encoded for r in records(tmp_path / "out", "train")} == {
        "0/0.jpg": jpeg(0),
        "1/0.jpg": jpeg(1),
    }
    build_tars(tmp_path / "d/1.tar", tmp_path / "single")
    assert list(stored(tmp_path / "single")) == ["1/0.jpg"]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_every_kind(tmp_path, capsys, form):
    """Only regular files inside the archive are taken; the others are counted and named."""
    long = "ä" * 120
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    members = [
        special("folder", tarfile.DIRTYPE),
        ("./folder/1.jpg", jpeg(1)),
        ("./folder/1.txt", b"a dog"),
        (f"{long}.jpg", jpeg(2)),
        (f"{long}.txt", b"two dogs"),
        ("caf\udce9.jpg", jpeg(3)),
        ("caf\udce9.txt", b"a ball"),
        ("../victim.jpg", jpeg(4)),
        ("../victim.txt", b"not yours"),
        (f"/{tmp_path}/victim.txt", b"not yours"),
        special("link.jpg", tarfile.SYMTYPE, str(victim)),
        special("hard.jpg", tarfile.LNKTYPE, "folder/1.jpg"),
        special("device.jpg", tarfile.CHRTYPE),
        special("fifo.txt", tarfile.FIFOTYPE),
        ("7.cls", b"3"),
        ("8.mask.jpg", jpeg(5)),
        ("._1.jpg", b"of macOS"),
        ("Makefile", b""),
        ("empty.jpg", b""),
        ("empty.txt", b"an image of no bytes"),
        ("no_image.txt", b"a caption alone"),
        ("no_caption.jpg", jpeg(6)),
        ("blank.jpg", jpeg(7)),
        ("blank.txt", b" \n"),
    ]
    write_tar(tmp_path / "d/0.tar", members, form)
    before = set(tmp_path.rglob("*"))
    build_tars(tmp_path / "d", tmp_path / "out")
    assert stored(tmp_path / "out") == {
        "0/folder/1.jpg": ("a dog",),
        f"0/{long}.jpg": ("two dogs",),
        "0/caf\\xe9.jpg": ("a ball",),
    }
    lines = {(line["file_name"], line["reason"]) for line in rejected(tmp_path / "out")}
    assert lines == {
        ("0/empty.jpg", "empty_file"),
        ("0/no_image", "missing_file"),
        ("0/no_caption.jpg", "no_captions"),
        ("0/blank.jpg", "no_captions"),
    }
    out = capsys.readouterr().out
    assert "passed over: 7 links, devices, sparse files and names that lead elsewhere" in out
    assert "passed over: 1 members that end in .cls, such as 7.cls of" in out
    assert "passed over: 1 members that end in .mask.jpg" in out
    assert victim.read_text() == "mine"
    after = {path for path in tmp_path.rglob("*") if tmp_path / "out" not in path.parents}
    assert after == before | {tmp_path / "out"}


def test_sparse_members_are_passed_over(tmp_path, capsys):
    """GNU tar --sparse stores pieces of a file: the size and the place say nothing there."""
    header = bytearray(tarfile.TarInfo("sparse.jpg").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    good = write_tar(tmp_path / "good.tar", [("1.jpg", jpeg(1)), ("1.txt", b"a dog")])
    (tmp_path / "d").mkdir()
    (tmp_path / "d/0.tar").write_bytes(bytes(header) + good.read_bytes())
    build_tars(tmp_path / "d", tmp_path / "out")
    assert list(stored(tmp_path / "out")) == ["0/1.jpg"]
    assert "sparse files" in capsys.readouterr().out


def good_tar(tmp_path: Path) -> bytes:
    members = [("1.jpg", b"x" * 3000), ("1.txt", b"a dog"), ("2.jpg", b"y" * 3000)]
    return write_tar(tmp_path / "good.tar", members).read_bytes()


def huge_header() -> bytes:
    """A header that announces a name of four gigabytes, which would have to be held in memory."""
    info = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    info.size = 4 << 30
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


END = 512 + 3072 + 512 + 512 + 512 + 3072


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tar: b"", "damaged tar, or no tar: empty file"),
        (lambda tar: b"not a tar " * 200, "damaged tar, or no tar: invalid header"),
        (lambda tar: tar[:300], "damaged tar, or no tar: truncated header"),
        (lambda tar: tar[:2000], "damaged tar, or no tar: unexpected end of data"),
        (lambda tar: tar[:3700], "cut short: it has no end mark after 3,584 bytes"),
        (lambda tar: tar[:3584], "cut short: it has no end mark after 3,584 bytes"),
        (lambda tar: tar[:END], f"cut short: it has no end mark after {END:,} bytes"),
        (lambda tar: tar[:3584] + b"?" * 9000, "damaged tar: no header at byte 3,584"),
        (lambda tar: tar + tar, f"more data follows its end mark at byte {END:,}"),
        (gzip.compress, "compressed by gzip"),
        (lambda tar: huge_header(), "a header of 4,294,967,296 bytes"),
    ],
)
def test_a_damaged_tar_is_one_line(tmp_path, change, message):
    content = change(good_tar(tmp_path))
    (tmp_path / "d").mkdir()
    (tmp_path / "d/0.tar").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        build_tars(tmp_path / "d", tmp_path / "out")
    assert str(caught.value).startswith(f"{tmp_path}/d/0.tar: ") and "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*.tfrecord"))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("1.json", b'{"caption": \n "a dog}')], "1.json: damaged JSON: .* line 2, column 2"),
        ([("1.json", b"[" * 100_000)], "1.json: damaged JSON: "),
        ([("1.json", b'{"caption": 3}')], '1.json: "caption" must be a string or a list .* 3'),
        ([("1.json", b'{"captions": [[]]}')], '1.json: "captions" must be a string or a list'),
        ([("1.txt", b"caf\xe9")], "1.txt: not UTF-8 at byte 3"),
        ([("1.txt", b"a " * 600_000)], "1.txt: a text of 1,200,000 bytes, more than 1,048,576"),
        ([("1.png", b"")], '1.png: a second image with the key "1", beside 1.jpg'),
        ([("1.jpg", b"")], '1.jpg: a second image with the key "1", beside 1.jpg'),
        ([("1.txt", b"a"), ("1.TXT", b"b")], '1.TXT: a second .txt with the key "1"'),
    ],
)
def test_a_wrong_sample_is_one_line(tmp_path, members, message):
    write_tar(tmp_path / "d/0.tar", [("1.jpg", jpeg()), *members])
    with pytest.raises(UserError, match=message) as caught:
        build_tars(tmp_path / "d", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_folders_without_tars_and_with_compressed_ones(tmp_path):
    (tmp_path / "d").mkdir()
    with pytest.raises(UserError, match=r"no file that ends in \.tar lies there"):
        build_tars(tmp_path / "d", tmp_path / "out")
    (tmp_path / "d/0.tar.gz").write_bytes(gzip.compress(good_tar(tmp_path)))
    with pytest.raises(UserError, match=r"0\.tar\.gz: .* decompress it to \.tar"):
        build_tars(tmp_path / "d", tmp_path / "out")
    write_tar(tmp_path / "e/0.tar", [("1.png.txt", b""), ("1.cls", b"")])
    with pytest.raises(
        UserError, match=r"lists no image; passed over: 1 members that end in \.png\.txt"
    ):
        build_tars(tmp_path / "e", tmp_path / "out")


def test_a_changed_tar_is_built_again(tmp_path, capsys):
    (tmp_path / "d").mkdir()
    options = {"data_dir": tmp_path / "d", "output_dir": tmp_path / "out"}

    def rewrite(number: int) -> None:
        info = tarfile.TarInfo("1.jpg")
        data = jpeg(number).ljust(5000, b"\0")
        info.size, info.mtime = len(data), number
        with tarfile.open(tmp_path / "d/0.tar", "w") as tar:
            tar.addfile(info, io.BytesIO(data))
            text = tarfile.TarInfo("1.txt")
            text.size = 5
            tar.addfile(text, io.BytesIO(b"a dog"))

    rewrite(1)
    build(**(SMALL | options))
    build(**(SMALL | options))
    assert "1 of 1 shards were finished before and kept" in capsys.readouterr().out
    rewrite(2)
    build(**(SMALL | options))
    assert "kept" not in capsys.readouterr().out
    (record,) = records(tmp_path / "out", "train")
    assert record.encoded.startswith(jpeg(2))


def test_a_tar_that_changes_while_it_is_read_is_one_line(tmp_path):
    path = write_tar(tmp_path / "0.tar", [("1.jpg", b"x" * 100)])
    (member,) = tar_members.members(str(path), lambda name: False)
    assert tar_members.read(member.place) == b"x" * 100
    write_tar(path, [("2.jpg", b"x" * 100)])
    with pytest.raises(UserError, match="has changed since its members were listed"):
        tar_members.read(member.place)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(UserError, match="has changed since its members were listed"):
        tar_members.read(member.place)
    path.unlink()
    with pytest.raises(UserError, match=r"0\.tar: cannot be read: No such file"):
        tar_members.read(member.place)
