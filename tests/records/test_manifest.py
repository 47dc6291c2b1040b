"""dataset_info.json, there and back."""

import dataclasses
import json

import pytest

from cli.errors import UserError
from records import canonical_json, manifest, shard_files
from tests.support.flags import FLAGS, recorded_flags

CONTENTS = {7: "ab" * 8, -9: "cd" * 8}
SHARD = shard_files.Shard(
    name="train-00000-of-00001.tfrecord",
    listed=3,
    images=2,
    pairs=9,
    records=2,
    bytes=77,
    xxh128="ab" * 16,
    contents=" ".join(f"{image_id}:{content}" for image_id, content in CONTENTS.items()),
)
INFO = manifest.DatasetInfo(
    dataset="coco2017",
    ids="coco",
    splits={name: manifest.Split((SHARD,), {"corrupt": 1}) for name in ("train", "val", "test")},
    vocabulary_size=9,
    vocabulary_fingerprint="cd",
    preprocessing=manifest.Preprocessing(0),
    seed=0,
    flags=recorded_flags(seed=0),
)


def test_manifest_there_and_back():
    again = manifest.DatasetInfo.from_bytes(INFO.to_bytes(), "here")
    assert again == INFO and list(again.splits) == ["train", "val", "test"]
    assert again.splits["train"].total("pairs") == 9
    assert again.splits["train"].content_hashes == CONTENTS


def test_manifest_of_stored_features():
    encoder = manifest.EncoderInfo("small_cnn", "ef", 64, (8, 8, 128), 1, "float32", "cpu")
    info = dataclasses.replace(INFO, encoder=encoder, preprocessing=manifest.Preprocessing(24))
    assert manifest.DatasetInfo.from_bytes(info.to_bytes(), "here") == info
    # The names on disk, which other programs and earlier builds have.
    written = json.loads(info.to_bytes())
    assert written["preprocessing"] == {"image_size": 24}
    assert written["encoder"] == {
        "name": "small_cnn",
        "weights": "ef",
        "input_size": 64,
        "grid": [8, 8, 128],
        "preprocessing": 1,
        "dtype": "float32",
        "device": "cpu",
    }
    assert encoder.fingerprinted.keys() == written["encoder"].keys() - {"device"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "here: not a data set's manifest"),
        (b"[]", "here: not a data set's manifest"),
        (INFO.to_bytes().replace(b'"schema_version": 5', b'"schema_version": 4'), "version 4, "),
        (INFO.to_bytes().replace(b"7:abab", b"7:xyzz"), "contents of train-00000-of-00001"),
        (INFO.to_bytes().replace(b'"val"', b'"dev"'), "not a data set's manifest"),
        (INFO.to_bytes().replace(b'"image_size"', b'"side"'), "not a data set's manifest"),
        (
            INFO.to_bytes().replace(b'"encoder": null', b'"encoder": {"grid": 1}'),
            "not a data set's",
        ),
    ],
)
def test_damaged_manifest(content, message):
    with pytest.raises(UserError, match=message):
        manifest.DatasetInfo.from_bytes(content, "here")


def test_a_vocabulary_is_full_if_it_was_built_with_a_limit_that_it_reaches():
    for limit, vocabulary, full in ((5, None, True), (6, None, False), (5, "v.tsv", False)):
        flags = recorded_flags(max_vocabulary=limit, vocabulary=vocabulary)
        assert dataclasses.replace(INFO, flags=flags).vocabulary_is_full == full
    assert not INFO.vocabulary_is_full


def test_flags_that_readers_do_not_know_are_kept():
    renamed = FLAGS | {"store": "both", "shuffle_seed": 3}
    content = canonical_json.to_json(json.loads(INFO.to_bytes()) | {"flags": renamed})
    info = manifest.DatasetInfo.from_bytes(content, "here")
    assert info.flags.store == "both" and info.flags.every == renamed
    assert info.to_bytes() == content


def test_a_manifest_without_a_version_of_its_flags_has_version_1():
    value = json.loads(INFO.to_bytes())
    assert value["flags"] == FLAGS | {"seed": 0}
    del value["flags_version"]
    assert manifest.DatasetInfo.from_bytes(canonical_json.to_json(value), "here") == INFO


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"flags_version": 2},
            r"^here: lists the build's flags in version 2, this program reads 1",
        ),
        ({"flags": {"store": "both"}}, r"^here: the build's flags lack 'captions_per_record'"),
        ({"flags": None}, "^here: not a data set's manifest"),
    ],
)
def test_flags_of_another_version_are_refused_in_a_line(change, message):
    content = canonical_json.to_json(json.loads(INFO.to_bytes()) | change)
    with pytest.raises(UserError, match=message):
        manifest.DatasetInfo.from_bytes(content, "here")
