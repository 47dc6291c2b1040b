"""Names of a user's list and the files that they mean."""

import os
import unicodedata

import pytest

from cli.errors import UserError
from pipeline.datasets.own.findings import Findings
from pipeline.datasets.own.image_names import ImageFolder


@pytest.fixture
def folder(tmp_path):
    for name in ("photos/a b.jpg", "photos/UPPER.JPG", "photos/caf\u00e9/1.jpg", "x[1]*.jpg"):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "own"


def located(folder, name: str) -> str | None:
    """The name of the file that is found; None when the name leads out of the folder."""
    found = ImageFolder(str(folder)).locate(name, "list:1")
    if found is None:
        return None
    name, path = found
    assert path == os.path.join(folder, name)
    return name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photos/a b.jpg", "photos/a b.jpg"),
        ("./photos//a b.jpg", "photos/a b.jpg"),
        ("{folder}/photos/a b.jpg", "photos/a b.jpg"),
        ("photos\\a b.jpg", "photos/a b.jpg"),
        (".\\photos\\UPPER.JPG", "photos/UPPER.JPG"),
        ("photos/cafe\u0301/1.jpg", "photos/caf\u00e9/1.jpg"),
        ("photos\\cafe\u0301\\1.jpg", "photos/caf\u00e9/1.jpg"),
        ("x[1]*.jpg", "x[1]*.jpg"),
        ("photos/upper.jpg", "photos/UPPER.JPG"),
        ("PHOTOS\\upper.jpg", "photos/UPPER.JPG"),
        ("photos/CAFE\u0301/1.JPG", "photos/caf\u00e9/1.jpg"),
        ("not/there.jpg", "not/there.jpg"),
        ("photos/UPPER", "photos/UPPER.JPG"),
        ("photos/a", "photos/a"),
        ("not\\there.jpg", "not\\there.jpg"),
        ("photos/a b.jpg/more.jpg", "photos/a b.jpg/more.jpg"),
        ("n" * 5000, "n" * 5000),
        ("../own/photos/a b.jpg", None),
        ("..\\own\\photos\\a b.jpg", None),
        ("photos\\..\\..\\secret.jpg", None),
        ("/etc/passwd", None),
        ("{folder}/../secret.jpg", None),
        ("file://{folder}/photos/a b.jpg", None),
        ("", None),
        (".", None),
        ("photos/\0.jpg", None),
    ],
)
def test_names(folder, name, expected):
    assert located(folder, name.replace("{folder}", str(folder))) == expected


def test_a_file_whose_name_macos_wrote(folder):
    decomposed = unicodedata.normalize("NFD", "\u00fcber.jpg")
    (folder / decomposed).write_bytes(b"")
    assert located(folder, "\u00fcber.jpg") == decomposed
    (folder / "\u00fcber.jpg").write_bytes(b"")
    assert located(folder, "\u00fcber.jpg") == "\u00fcber.jpg"
    assert located(folder, decomposed) == decomposed


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("photos/UPPER.png", "photos/UPPER.JPG"),
        ("photos/uPPER", "photos/UPPER.JPG"),
        ("photos/quite another.jpg", None),
    ],
)
def test_a_missing_file_is_named_with_the_one_that_is_meant(folder, name, similar):
    images = ImageFolder(str(folder))
    images.locate(name, "list:7:3")
    asked = f"; did you mean {folder}/{similar}?" if similar else ""
    example = f"{folder}/{name} (list:7:3): no such file{asked}"
    with pytest.raises(UserError) as caught:
        images.report(Findings())
    assert str(caught.value) == f"none of the 1 images of the list is there: {example}"
    (folder / "Photos.ZIP").touch()
    unread = ImageFolder(str(folder))
    unread.locate(name, "list:7:3")
    with pytest.raises(UserError, match=r"; Photos\.ZIP lies there: unpack it$"):
        unread.report(Findings())
    images.locate("x[1]*.jpg", "list:8:3")
    findings = Findings()
    images.report(findings)
    assert findings.remarks == [f"1 of 2 images are missing: {example}"]


def test_names_in_another_case_are_counted_and_taken_where_one_file_is_meant(folder):
    (folder / "photos" / "two.jpg").touch()
    (folder / "photos" / "Two.jpg").touch()
    images = ImageFolder(str(folder))
    for name in ("photos/upper.jpg", "photos\\A B.JPG", "photos/caf\u00e9/1.jpg", "photos/TWO.jpg"):
        images.locate(name, "list:7:3")
    findings = Findings()
    images.report(findings)
    taken, missing = findings.remarks
    assert taken == (
        f"names in another case than their files in {folder} are taken: 2, the first is"
        " photos/upper.jpg for photos/UPPER.JPG"
    )
    assert missing.startswith("1 of 4 images are missing: ") and "did you mean" in missing


def test_a_file_that_the_list_names_is_not_meant_by_another_name(folder):
    (folder / "IMG_2000.JPG").touch()
    images = ImageFolder(str(folder))
    for name in ("IMG_2000.JPG", "IMG_2004.JPG"):
        images.locate(name, "list:7:3")
    findings = Findings()
    images.report(findings)
    expected = f"1 of 2 images are missing: {folder}/IMG_2004.JPG (list:7:3): no such file"
    assert findings.remarks == [expected]
