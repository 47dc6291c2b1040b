"""COCO's files: what is written is read back, and a broken file is refused in one line."""

import json

import pytest
from pycocotools.coco import COCO

from cli.errors import UserError
from metrics import coco_files

REFERENCES = {
    42: ["A dog runs.", "The dog is running on the beach", "a dog at the sea"],
    7: ["Two cats sleep.", "cats on a sofa\nasleep", "a pair of cats"],
    99: ["A café in a street", "people sit at the café 😀"],
    5: ["A red bus.", "the bus waits"],
}
CAPTIONS = {99: "people in a café \u2028 😀", 42: "a dog runs on the beach", 7: "two dogs"}


@pytest.fixture
def files(tmp_path):
    coco_files.write_results(tmp_path / "R.json", CAPTIONS)
    coco_files.write_references(tmp_path / "A.json", REFERENCES)
    return tmp_path


def element(**values):
    return json.dumps([{"image_id": 42, "caption": "a dog"}, values])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        ("", "no bytes"),
        ("<html>", "6 bytes that are not JSON"),
        ('[{"image_id": 42, "capt', "not JSON"),
        ("[" * 100_000, "not JSON"),
        (b"[\xff\xfe\xfa]", "not JSON"),
        ("[]", "an empty list"),
        ("{}", "an empty object"),
        ('{"images": [], "annotations": []}', "is this the annotations file?"),
        ('"text"', 'found "text"'),
        ("[[1]]", "element 0 that is a list of 1 elements"),
        (element(image_id=7), 'element 1 without "caption"'),
        (element(caption="a cat"), 'element 1 without "image_id"'),
        (element(image_id=7, caption=["a", "cat"]), "element 1 (image id 7) with caption ['a',"),
        (element(image_id=7, caption=None), "element 1 (image id 7) with caption None"),
        (element(image_id="7", caption="a cat"), "image_id '7' is no whole number"),
        (element(image_id=True, caption="a cat"), "image_id True is no whole number"),
        (element(image_id=42, caption="a cat"), "image id 42 is captioned twice"),
    ],
)
def test_broken_results(tmp_path, content, problem):
    path = tmp_path / "R.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        coco_files.read_results(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert problem in message
    assert "; " in message  # what to do
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        ('{"images": [{"id": 42}], "annot', "not JSON"),
        ('[{"image_id": 42, "caption": "a dog"}]', "is this the results file?"),
        ('{"images": []}', 'an object with the keys "images"'),
        ('{"annotations": {}}', 'an object with the keys "annotations"'),
        ('{"annotations": [], "images": 3}', '"images" that is 3'),
        ('{"annotations": [], "images": [{"name": "x"}]}', "image 0 without a whole-number id"),
        ('{"annotations": [], "images": [{"id": 1}]}', "no captions"),
        ('{"annotations": [{"image_id": 1, "bbox": []}]}', 'annotation 0 without "caption"'),
        ('{"annotations": ["a dog"]}', 'annotation 0 that is "a dog"'),
    ],
)
def test_broken_annotations(tmp_path, content, problem):
    path = tmp_path / "A.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        coco_files.read_references(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert problem in message
    assert "\n" not in message


def test_files_come_back_as_written(files):
    assert coco_files.read_results(files / "R.json") == CAPTIONS
    assert list(coco_files.read_results(files / "R.json")) == list(CAPTIONS)
    assert coco_files.read_references(files / "A.json") == REFERENCES
    assert list(coco_files.read_references(files / "A.json")) == list(REFERENCES)


def test_references_follow_the_order_of_the_images(tmp_path):
    annotations = [{"image_id": i, "caption": f"caption {n}"} for n, i in enumerate([3, 1, 3, 2])]
    value = {"images": [{"id": 1}, {"id": 9}, {"id": 3}], "annotations": annotations}
    coco_files.write_json(tmp_path / "A.json", value)
    references = coco_files.read_references(tmp_path / "A.json")
    assert list(references.items()) == [
        (1, ["caption 1"]),
        (3, ["caption 0", "caption 2"]),
        (2, ["caption 3"]),
    ]


def test_pycocotools_reads_what_is_written(files):
    annotations = COCO(str(files / "A.json"))
    loaded = annotations.loadRes(str(files / "R.json"))
    assert set(annotations.getImgIds()) == set(REFERENCES)
    for image_id, texts in REFERENCES.items():
        assert [a["caption"] for a in annotations.imgToAnns[image_id]] == texts
    for image_id, text in CAPTIONS.items():
        (annotation,) = loaded.imgToAnns[image_id]
        assert annotation["caption"] == text
    assert len(annotations.anns) == sum(map(len, REFERENCES.values()))  # every id is its own


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "S.json"
    coco_files.write_json(path, {"a": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(coco_files.os, "fsync", full)
    with pytest.raises(UserError, match=r"S\.json: cannot be written: No space left on device"):
        coco_files.write_json(path, {"a": 2})
    assert [file.name for file in tmp_path.iterdir()] == ["S.json"]
    assert json.loads(path.read_text()) == {"a": 1}


def test_an_output_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"S\.json: cannot be written"):
        coco_files.write_json(tmp_path / "file" / "S.json", {})
