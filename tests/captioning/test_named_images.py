"""What --images names: folders with links, globs, lists; nothing is passed over in silence."""

import json
import os
from pathlib import Path

import pytest

from captioning import parts
from captioning.image_list import ImageList
from captioning.named_images import NamedImages
from cli.errors import UserError
from metrics import coco_files
from pixels.formats import SUFFIXES


def found(named: NamedImages, root: Path) -> list[str]:
    """The paths that are named, relative to a folder, in order."""
    return sorted(os.path.relpath(entry.path, root) for entry in named)


@pytest.fixture
def touch(tmp_path):
    """A function that makes empty files below `tmp_path`."""

    def touch(*names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return touch


def test_every_format_in_any_case_and_the_others_are_counted(tmp_path, touch):
    names = [f"{n}{s.upper() if n % 2 else s}" for n, s in enumerate(SUFFIXES)]
    touch(*names, *("a.txt", "b.TXT", "c.mov", "d", "e.jpg~", ".f.jpg", ".g/h.jpg"))
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would wait for ever
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "gone.jpg").symlink_to("nowhere")  # is named when it cannot be read
    named = NamedImages(str(tmp_path))
    assert found(named, tmp_path) == sorted([*names, "gone.jpg"])
    assert named.skipped == {
        ".txt": 2,
        ".mov": 1,
        "without a suffix": 1,
        ".jpg~": 1,
        "hidden file": 1,
        "hidden folder": 1,
        "special file": 1,
        "broken link": 1,
    }
    assert named.remark().startswith("skipped: 2 .txt, 1 ")


def test_many_kinds_are_one_short_line(tmp_path, touch):
    touch("a.jpg", *(f"a.{n}" for n in range(20)), "a." + "x" * 50, os.fsdecode(b"a.\xe9"))
    named = NamedImages(str(tmp_path))
    assert len(list(named)) == 1
    assert named.remark().endswith(", 13 of other kinds") and "2 of another kind" in named.remark()


def test_linked_folders_are_followed_once_under_the_same_names(tmp_path, touch):
    touch("photos/a/1.jpg", "else/2.jpg", "else/deep/3.jpg")
    photos = tmp_path / "photos"
    (photos / "a" / "up").symlink_to("..")  # a circle
    (photos / "z").symlink_to("../else")
    (photos / "b").symlink_to("../else")
    (photos / "0").symlink_to("a")  # found under its own name, though this comes first
    (tmp_path / "else" / "back").symlink_to("../photos")  # a circle by way of another folder
    named = NamedImages(str(photos))
    assert found(named, photos) == ["a/1.jpg", "b/2.jpg", "b/deep/3.jpg"]
    assert named.skipped == {"linked folder that is searched already": 4}


def test_a_folder_that_cannot_be_searched_is_said_and_the_others_are(tmp_path, touch, monkeypatch):
    touch("a/1.jpg", "b/2.jpg")
    original = os.scandir

    def scandir(path):
        if os.path.basename(path) == "a":
            raise PermissionError(13, "Permission denied", path)
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    named = NamedImages(str(tmp_path))
    assert found(named, tmp_path) == ["b/2.jpg"]
    assert named.problems == [f"{tmp_path}/a: cannot be searched: Permission denied"]
    with pytest.raises(UserError, match=r"found no image, .*/a: cannot be searched: Permission"):
        list(NamedImages(f"{tmp_path}/a"))


def test_paths_are_no_globs_where_they_exist(tmp_path, touch):
    names = ["lr[1e-3]/1.jpg", "a*b/2.jpg", "what?/3.jpg", "l1/4.jpg", "axb/5.jpg", "a, b/6.jpg"]
    touch(*names)
    for name in names:
        folder = tmp_path / Path(name).parent
        for source in (folder, f"{folder}/*.jpg", tmp_path / name, f"{folder}/**/*.jpg"):
            assert found(NamedImages(str(source)), tmp_path) == [name]
    assert found(NamedImages(f"{tmp_path}/[al]1/*,{tmp_path}/a, b"), tmp_path) == [
        "a, b/6.jpg",
        "l1/4.jpg",
    ]
    named = NamedImages(f"{tmp_path}/*")
    with pytest.raises(UserError, match="found no image, skipped: 6 folder; expected a folder"):
        list(named)


def test_what_does_not_exist_is_said_with_what_was_tried(tmp_path, touch):
    touch("Photos/1.jpg", "Photos/notes.txt", "words/notes.txt")
    for wrong in ("photos", "Photos\\1.jpg", "photo"):
        with pytest.raises(UserError, match=r"no such file or folder; did you mean .*/Photos"):
            list(NamedImages(f"{tmp_path}/{wrong}"))
    with pytest.raises(UserError, match=r"--images=b\.jpg: .* as a whole is no path, so it was"):
        list(NamedImages(f"{tmp_path}/Photos,b.jpg"))
    with pytest.raises(UserError, match=r"/words: found no image, skipped: 1 \.txt; expected"):
        list(NamedImages(f"{tmp_path}/Photos,{tmp_path}/words"))


def test_lists_from_other_systems(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    lines = [
        b'\xef\xbb\xbf{"image": "a.jpg"}\r\n',
        b"\r\n",
        b'{"image": "caf\\u00e9.jpg", "id": 7}\r\n',
        '{"image": "a\u2028b.jpg"}\r\n'.encode(),  # no end of a line
        b'{"image": "caf\xe9.jpg"}\n',
        b'{"image": "~/b, c.jpg"}',
    ]
    (tmp_path / "list.JSONL").write_bytes(b"".join(lines))
    entries = list(NamedImages(str(tmp_path / "list.JSONL")))
    folder = os.fsencode(tmp_path) + b"/"
    names = [b"a.jpg", "café.jpg".encode(), "a\u2028b.jpg".encode(), b"caf\xe9.jpg"]
    expected = [*(folder + name for name in names), b"/home/me/b, c.jpg"]
    assert [os.fsencode(entry.path) for entry in entries] == expected
    assert [entry.image_id for entry in entries] == [None, 7, None, None, None]
    images = ImageList(iter(entries), 10, str(tmp_path))
    (part,) = images.parts
    assert {os.fsencode(image.name) for image in images.read(part)} == set(expected)


@pytest.mark.parametrize(
    "line", [b'{"image": "\\ud800.jpg"}', '{"image": "a.jpg"}'.encode("utf-16"), b"a.jpg"]
)
def test_lists_that_are_none(tmp_path, line):
    (tmp_path / "list.jsonl").write_bytes(line)
    with pytest.raises(UserError, match=r"list\.jsonl:1: expected .* in UTF-8.*, found '"):
        list(NamedImages(str(tmp_path / "list.jsonl")))


def test_what_the_job_itself_keeps_is_not_counted(tmp_path, touch):
    touch(".lock", "captions.jsonl", "rejected.jsonl", "parts/f/job.json", "1.jpg", "b/.lock")
    named = NamedImages(f"{tmp_path}/", str(tmp_path))
    assert [entry.path for entry in named] == [f"{tmp_path}/1.jpg"]
    assert named.remark() == "skipped: 1 hidden file"
    elsewhere = NamedImages(str(tmp_path), str(tmp_path / "b"))
    assert len(list(elsewhere)) == 1 and elsewhere.skipped.total() == 4


def test_lines_are_readable_and_valid_json(tmp_path):
    path, lines = tmp_path / "lines.jsonl", [{"image": "\udce9.jpg", "caption": "größer 狗"}]
    parts.write_lines(str(path), lines)
    assert path.read_bytes() == (
        b'{"image": "\\udce9.jpg", "caption": "' + "größer 狗".encode() + b'"}\n'
    )
    assert json.loads(path.read_bytes()) == lines[0]
    coco_files.write_json(path, lines)
    assert json.loads(path.read_bytes()) == lines and "größer 狗" in path.read_text("utf-8")


def test_names_stay_valid_json(tmp_path):
    """The list of a job and its lines hold names as JSON's escapes."""
    (tmp_path / os.fsdecode(b"\xe9.jpg")).touch()
    images = ImageList(NamedImages(str(tmp_path)), 10, str(tmp_path))
    (image,) = images.read(images.parts[0])
    assert json.loads(json.dumps(image.name)) == image.name
    assert os.path.exists(image.name)
