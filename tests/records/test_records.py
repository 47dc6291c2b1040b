"""The contract: words, vocabulary, wire format, framing, manifest; each way there and back."""

import contextlib
import dataclasses
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cli.errors import UserError
from cli.progress import bar
from records import canonical_json, manifest, schema, shard_files, wire
from records.text import detokenise, tokenise
from records.vocabulary import SPECIAL, Vocabulary
from tests.support.flags import FLAGS, recorded_flags

ROOT = Path(__file__).parents[2]
IMAGE = schema.CaptionedImage(
    image_id=2**62,
    file_name="ünï.jpg",
    captions=("A dog 🐕\n", "two"),
    caption_ids=((1, 4, 3, 2), (1, 2)),
    encoded=b"\xff\xd8\xff\xd9",
)


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A Dog runs.", ["a", "dog", "runs"]),
        ("the dog's ball; isn't it?", ["the", "dog", "'s", "ball", "is", "n't", "it"]),
        ('a "red" (big) one - here', ["a", "red", "big", "one", "here"]),
        ("caf\u00e9 and cafe\u0301", ["café", "and", "café"]),  # NFKC
        ("ﬁre\u00a0truck", ["fire", "truck"]),
        ("stops.here in the street. and", ["stops.here", "in", "the", "street", "and"]),
        ("", []),
        (" ... !", []),
        ("cannot wanna", ["can", "not", "wan", "na"]),
        ("5'9\" tall, 1,000 men", tokenise("5'9\" tall, 1,000 men")),
    ],
)
def test_words_of_a_caption(caption, words):
    assert tokenise(caption) == words


def test_plain_captions_need_no_treebank():
    """The quick way gives what the tokenizer gives, also for words that it treats specially."""
    import random
    import re

    from nltk.tokenize.destructive import MacIntyreContractions

    from records import text

    special = [
        re.sub(r"\(\?[i#][^)]*\)|\\[bs]|[()?]", "", pattern)
        for pattern in (*MacIntyreContractions.CONTRACTIONS2, *MacIntyreContractions.CONTRACTIONS3)
    ]
    assert "cannot" in special and "gimme" in special
    words = ["a", "dog", "7", "mr", "st", "co2", ".", "ph.d", "dog.", "etc.", "1.5", *special]
    draw = random.Random(0)
    for _ in range(3000):
        caption = " ".join(draw.choices(words, k=draw.randint(0, 5))) + draw.choice(["", ".", " ."])
        assert tokenise(caption) == text._treebank(" ".join(caption.split())), caption


def test_words_as_people_write_them():
    assert detokenise(["a", "dog", "'s", "bowl", "is", "n't", "full"]) == "a dog's bowl isn't full"


def test_vocabulary_is_ordered_and_reads_back():
    from collections import Counter

    counts = Counter({"dog": 5, "a": 9, "cat": 5, "rare": 1, "<unk>": 7})
    vocabulary = Vocabulary.build(counts, 2, captions=3)
    assert vocabulary.words == (*SPECIAL, "a", "cat", "dog")
    assert vocabulary.counts == (0, 3, 3, 8, 9, 5, 5)
    assert vocabulary.encode("A dog, a zebra!") == [1, 4, 6, 4, 3, 2]
    assert vocabulary.decode([1, 4, 6, 2, 5, 0]) == "a dog"
    again = Vocabulary.from_tsv(vocabulary.to_tsv(), "here")
    assert (again.words, again.counts) == (vocabulary.words, vocabulary.counts)
    assert again.fingerprint == vocabulary.fingerprint
    assert Vocabulary([*SPECIAL, "a"], [0] * 5).fingerprint != vocabulary.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "v.tsv:1: expected"),
        ("<pad>\t0\n<start>\t1\nword", "v.tsv:3: expected `word<TAB>count`, found 'word'"),
        ("a\t1\n", "v.tsv: the first four words must be <pad> <start> <end> <unk>"),
        ("<pad>\t0\n<start>\t0\n<end>\t0\n<unk>\t0\na\t1\na\t1\n", "the word 'a' comes twice"),
    ],
)
def test_damaged_vocabulary(text, message):
    with pytest.raises(UserError, match=message):
        Vocabulary.from_tsv(text, "v.tsv")


def test_a_record_there_and_back():
    assert vars(wire.from_bytes(wire.to_bytes(IMAGE))) == vars(IMAGE)
    grid = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    image = schema.CaptionedImage(7, "a.jpg", (), (), None, grid)
    again = wire.from_bytes(wire.to_bytes(image))
    assert again.encoded is None and again.captions == ()
    np.testing.assert_array_equal(again.features, grid)


def test_the_same_record_is_the_same_bytes_in_every_process():
    """Maps have a random order in each process unless serialising is told otherwise."""
    code = (
        "import hashlib, sys\n"
        "from records import wire\n"
        "image = wire.from_bytes(sys.stdin.buffer.read())\n"
        "print(hashlib.sha256(wire.to_bytes(image)).hexdigest())"
    )
    record = wire.to_bytes(IMAGE)
    command = [sys.executable, "-c", code]
    digests = [
        subprocess.run(command, cwd=ROOT, input=record, capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    expected = hashlib.sha256(record).hexdigest()
    assert [digest.decode().strip() for digest in digests] == [expected, expected]


@pytest.mark.parametrize("record", [b"\xff\xff", b"", wire.to_bytes(IMAGE)[:-1]])
def test_bytes_that_are_no_record(record):
    with pytest.raises(wire.CorruptRecordError):
        wire.from_bytes(record)


def test_framing_is_tensorflows_and_sees_every_flipped_byte():
    framed = [b"".join(wire.frame(record)) for record in (b"one", b"", b"three" * 9)]
    content = b"".join(framed)
    assert list(wire.read_frames(io.BytesIO(content))) == [b"one", b"", b"three" * 9]
    # What tf.io.TFRecordWriter wrote for b"one".
    assert framed[0].hex() == "0300000000000000b099490e6f6e6501405508"
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        with pytest.raises(wire.CorruptRecordError, match=r"record \d at byte \d+: "):
            list(wire.read_frames(io.BytesIO(damaged)))
    for end in range(1, len(content)):
        if end not in (len(framed[0]), len(framed[0] + framed[1])):
            with pytest.raises(wire.CorruptRecordError, match="the file ends inside"):
                list(wire.read_frames(io.BytesIO(content[:end])))


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
        (INFO.to_bytes().replace(b'"schema_version": 4', b'"schema_version": 3'), "version 3, "),
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


def test_sidecar_there_and_back():
    sidecar = shard_files.Sidecar(SHARD, "ef", ({"reason": "corrupt", "image_id": 1},))
    assert shard_files.Sidecar.from_bytes(sidecar.to_bytes(), "here") == sidecar
    for content in (b"", b"{}", b"[]", b'{"shard": {}, "rejected": [], "fingerprint": ""}'):
        with pytest.raises(UserError, match="here: not a shard's sidecar"):
            shard_files.Sidecar.from_bytes(content, "here")


def test_shard_names():
    assert shard_files.shard_name("val", 3, 12) == "val-00003-of-00012.tfrecord"
    assert shard_files.parse_shard_name("val-00003-of-00012.tfrecord") == ("val", 3, 12)
    for other in ("val-3-of-12.tfrecord", "val-00003-of-00012.tfrecord.json", "dev-00000-of-00001"):
        assert shard_files.parse_shard_name(other) is None


def test_progress_is_shown_while_stderr_is_turned_away():
    shown, elsewhere = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(shown), bar(5, "writing", "images") as progress:
        with contextlib.redirect_stderr(elsewhere):
            progress.update(3)
            progress.refresh()
        assert "3 of 5" in shown.getvalue()
    assert not elsewhere.getvalue()
