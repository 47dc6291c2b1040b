"""Entries of a list become images: grouped, with ids and splits that new images do not change."""

import pytest

from cli.errors import UsageError, UserError
from pipeline.datasets.options import SourceOptions
from pipeline.datasets.own import entries as module
from pipeline.datasets.own.entries import Entry, hashed_split, image_id_of, listings, split_of
from pipeline.datasets.own.findings import Findings

NO_OPTIONS = SourceOptions()


def entry(name: str, *captions: str, place: str = "list:1:1", **more) -> Entry:
    return Entry(name, f"folder/{name}", captions or ("a dog",), place, **more)


def listed(*given: Entry, **options):
    return listings(given, SourceOptions(**options), Findings())


def test_entries_of_one_image_are_grouped_though_others_lie_between():
    images = listed(entry("a.jpg", "one", "two"), entry("b.jpg"), entry("a.jpg", "three"))
    assert [image.file_name for image in images["train"].images] == ["a.jpg", "b.jpg"]
    first = images["train"].images[0]
    assert [(c.caption_id, c.text) for c in first.captions] == [
        ("a.jpg#0", "one"),
        ("a.jpg#1", "two"),
        ("a.jpg#2", "three"),
    ]
    assert first.path == "folder/a.jpg" and first.image_id == image_id_of("a.jpg")


def test_ids_are_those_of_the_names():
    # Written down: they must be the same in every version of this program.
    assert image_id_of("photos/1.jpg") == 6995698157082852705
    assert image_id_of("caf\u00e9.jpg") == image_id_of("cafe\u0301.jpg")
    assert image_id_of("./photos/1.jpg") == image_id_of("photos/1.jpg")
    assert image_id_of("\udce9.jpg") >= 0  # A file name that is not UTF-8.
    assert all(0 <= image_id_of(str(n)) < 2**63 for n in range(1000))


def test_new_images_move_no_other():
    names = [f"{n}.jpg" for n in range(2000)]
    options = {"val_fraction": 0.1, "test_fraction": 0.2}
    few, many = (
        {
            image.file_name: (split, image.image_id)
            for split, listing in listed(*map(entry, some), **options).items()
            for image in listing.images
        }
        for some in (names[::3], names)
    )
    assert few.items() <= many.items()
    counts = {split: sum(s == split for s, _ in many.values()) for split in ("val", "test")}
    assert 160 < counts["val"] < 240 and 340 < counts["test"] < 460


def test_another_fraction_of_val_moves_no_image_of_test():
    names = [f"{n}.jpg" for n in range(1000)]
    one, other = (
        {
            n
            for n in names
            if hashed_split(n, SourceOptions(val_fraction=f, test_fraction=0.2)) == "test"
        }
        for f in (0.1, 0.5)
    )
    assert one == other and one


def test_names_of_splits():
    names = ["train", "TRAIN", " Val ", "valid", "Validation", "dev", "test", "restval", "held"]
    assert [split_of(name) for name in names] == [
        *("train", "train", "val", "val", "val", "val", "test", "train", None)
    ]
    images = listed(entry("a", split="Dev"), entry("b", split="train"), entry("c"))
    assert [i.file_name for i in images["train"].images] == ["b", "c"] and "val" in images


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            [entry("a", split="val"), entry("b"), entry("a", place="list:9:2")],
            'list:9:2: "a" is in the split train here and in val at list:1:1',
        ),
        (
            [entry("a", split="half", place="list:4:7")],
            "list:4:7: the split must be one of train, restval, val, valid, validation, dev, test,"
            ' found "half"',
        ),
        (
            [entry("a", image_id=1), entry("b", image_id=1, place="list:2:1")],
            'list:2:1: "b" has the same id as "a" at list:1:1',
        ),
        (
            [entry("a", image_id=1), entry("a", image_id=2, place="list:2:1")],
            'list:2:1: "a" has the id 2 here and 1 at list:1:1',
        ),
        (
            [entry("a", image_id=1), entry("b", place="list:2:1")],
            'list:2:1: "b" has no id, unlike the images before: all of them must have one, or none',
        ),
        (
            [entry("\u00e9"), entry("e\u0301", place="list:2:1")],
            'list:2:1: "e\u0301" has nearly the same name as "\u00e9" at list:1:1',
        ),
    ],
)
def test_entries_that_contradict_each_other(given, message):
    with pytest.raises(UserError) as caught:
        listed(*given)
    assert str(caught.value) == message


def test_names_of_one_hash_are_an_error(monkeypatch):
    monkeypatch.setattr(module, "image_id_of", lambda name: 7)
    with pytest.raises(UserError, match='"b" has nearly the same name as "a"'):
        listed(entry("a"), entry("b"))


def test_fractions_and_splits_of_the_list():
    images = listed(entry("a", split="test"), *(entry(str(n)) for n in range(50)), val_fraction=0.3)
    assert set(images) == {"train", "val", "test"} and len(images["test"].images) == 1
    with pytest.raises(UsageError, match=r"--val_fraction=0\.1: the list has a split val already"):
        listed(entry("a", split="dev"), entry("b"), val_fraction=0.1)
    with pytest.raises(UsageError, match=r"--val_fraction=0\.5 and --test_fraction=0\.5 leave no"):
        SourceOptions(val_fraction=0.5, test_fraction=0.5).check()


def test_remarks_on_splits():
    findings = Findings()
    listings([entry("a"), entry("b")], NO_OPTIONS, findings)
    assert findings.remarks == [
        "all 2 images are in train, because nothing says which splits they belong to;"
        " --val_fraction=0.1 puts a tenth of them into val, from which a training chooses its best"
        " weights"
    ]
    findings = Findings()
    listings([entry("a")], SourceOptions(val_fraction=0.001), findings)
    assert findings.remarks == [
        "no val split: --val_fraction=0.001 gives it none of the 1 images; a larger fraction does",
        "no test split: the list has no image for it",
    ]
