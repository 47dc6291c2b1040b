"""What a rerun trusts: nothing whose flags or input changed; what a full disk leaves is whole."""

import contextlib
import json
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.errors import UserError
from pipeline.storage import files
from records import canonical_json, manifest, shard_files
from records.schema import SCHEMA_VERSION
from tests.support.records import CocoFolder, build, build_coco, checksums, contents, jpeg, verify


@pytest.fixture
def folder(tmp_path):
    return CocoFolder(tmp_path / "coco")


def test_rerun_writes_only_what_is_missing(folder, tmp_path, capsys):
    out = tmp_path / "records"
    for number in range(12):
        folder.add("train", number, jpeg(number), [" "])  # a duplicate, so one line for each shard
    folder.write()
    build_coco(folder, out, max_rejected_fraction=0.5)
    before = checksums(out)
    lines = (out / "rejected.jsonl").read_bytes()
    assert verify(out) == 0
    (out / "dataset_info.json").unlink()
    (out / "train-00001-of-00002.tfrecord.json").unlink()
    old = {path.name: path.stat().st_ino for path in out.glob("*.tfrecord*")}
    capsys.readouterr()
    build_coco(folder, out, max_rejected_fraction=0.5)
    assert "2 of 3 shards were finished before and kept" in capsys.readouterr().out
    assert checksums(out) == before and (out / "rejected.jsonl").read_bytes() == lines
    new = {path.name: path.stat().st_ino for path in out.glob("*.tfrecord*")}
    assert {name for name in new if new[name] != old.get(name)} == {
        "train-00001-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord.json",
    }


def test_shards_of_earlier_versions_are_kept(tmp_path):
    """What a shard's fingerprint is of: an image counts with its size in bytes, missing with null.

    Whoever changes this makes every user write all shards again; raise WRITER_VERSION then.
    """
    size = (tmp_path / "0.jpg").write_bytes(jpeg())
    lines = [{"image": f"{n}.jpg", "captions": ["a dog runs"]} for n in range(2)]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "records"
    options = {"min_word_count": 1, "seed": 3, "max_rejected_fraction": 0.5}
    info = build(dataset="jsonl", data_dir=tmp_path, output_dir=out, **options)
    name = "train-00000-of-00001.tfrecord.json"
    sidecar = shard_files.Sidecar.from_bytes((out / name).read_bytes(), name)
    images = [[1, "0.jpg", size, ["a dog runs"], []], [2, "1.jpg", None, ["a dog runs"], []]]
    versions = [SCHEMA_VERSION, shard_files.WRITER_VERSION]
    assert sidecar.fingerprint in {
        canonical_json.fingerprint(
            [versions, [0, 0, "header"], info.vocabulary_fingerprint, in_order]
        )
        for in_order in (images, images[::-1])
    }


def test_records_of_before_the_flag_of_the_vocabulary_are_left_as_they_are(folder, tmp_path):
    """Manifests of builds without --max_vocabulary do not mention it; no limit is not a change."""
    out = tmp_path / "records"
    build_coco(folder, out)
    before = contents(out)
    info = json.loads(before["dataset_info.json"])
    assert "min_word_count" in info["flags"] and "max_vocabulary" not in info["flags"]
    assert manifest.read_info(str(out)).flags.max_vocabulary == 0
    build_coco(folder, out, max_vocabulary=0)
    assert contents(out) == before


def test_shards_are_kept_where_a_limit_leaves_no_word_out(folder, tmp_path, capsys):
    out = tmp_path / "records"
    size = build_coco(folder, out).vocabulary_size - 4
    before = contents(out)
    capsys.readouterr()
    info = build_coco(folder, out, max_vocabulary=size)
    assert "3 of 3 shards were finished before and kept" in capsys.readouterr().out
    assert info.flags.max_vocabulary == info.flags.every["max_vocabulary"] == size
    after = contents(out)
    assert {name for name in after if after[name] != before[name]} == {"dataset_info.json"}


def empty(directory: Path) -> dict[str, bytes]:
    """Take all files away; returns what they held."""
    held = contents(directory)
    for name in held:
        (directory / name).unlink()
    return held


# Each is built where the one before it lies: all of that is stale, or still right.
CHANGES = [
    {"image_size": 24},
    {"image_size": 0},
    {"captions_per_record": 1},
    {"verify": "decode"},  # one image is damaged
    {"min_word_count": 14},  # of WORDS, those that come in two captions
    {"max_vocabulary": 3},
    {"vocabulary": "small.tsv"},
    {"max_caption_words": 3},
    {"seed": 5},
    {"train_shards": 3},
    {"val_shards": 2},
    {"max_rejected_fraction": 0.5},
]


def test_a_changed_flag_leaves_nothing_stale(folder, tmp_path, monkeypatch):
    data = jpeg(50)
    folder.add("train", 50, data[: len(data) // 2] + data[-len(data) // 4 :])
    folder.write()
    out = tmp_path / "records"
    monkeypatch.chdir(tmp_path)
    build_coco(folder, out, min_word_count=20)
    Path("small.tsv").write_bytes((out / "vocabulary.tsv").read_bytes())
    seen = []
    for change in CHANGES:
        flags = {"max_rejected_fraction": 0.2} | change
        build_coco(folder, out, **flags)
        rebuilt = empty(out)
        build_coco(folder, out, **flags)
        assert rebuilt == contents(out), change
        assert rebuilt not in seen, change
        seen.append(rebuilt)
    assert verify(out) == 0


def change_caption(folder: CocoFolder) -> None:
    folder.captions["train"][3]["caption"] = "the dog runs fast"


def change_image(folder: CocoFolder) -> None:
    (folder.path / "train2017" / "000000000003.jpg").write_bytes(jpeg(99, (60, 50)))


def remove_image(folder: CocoFolder) -> None:
    (folder.path / "train2017" / "000000000003.jpg").unlink()


def add_image(folder: CocoFolder) -> None:
    folder.add("train", 70, jpeg(70))


def rename_image(folder: CocoFolder) -> None:
    name = folder.images["val"][2]["file_name"]
    folder.images["val"][2]["file_name"] = "other.jpg"
    (folder.path / "val2017" / name).rename(folder.path / "val2017" / "other.jpg")


def test_a_changed_input_is_seen(folder, tmp_path):
    out = tmp_path / "records"
    build_coco(folder, out, max_rejected_fraction=0.5)
    for change in (change_caption, change_image, rename_image, add_image, remove_image):
        before = contents(out)
        change(folder)
        folder.write()
        build_coco(folder, out, max_rejected_fraction=0.5)
        rebuilt = empty(out)
        build_coco(folder, out, max_rejected_fraction=0.5)
        assert rebuilt == contents(out) != before, change.__name__


def test_manifest_goes_before_the_first_shard_is_touched(folder, tmp_path, monkeypatch):
    from pipeline.job import shard

    out = tmp_path / "records"
    build_coco(folder, out)

    def write_nothing(*_):
        raise UserError("stopped here")

    monkeypatch.setattr(shard, "_write", write_nothing)
    with pytest.raises(UserError, match="stopped here"):
        build_coco(folder, out, image_size=24)
    assert not (out / "dataset_info.json").exists()
    with pytest.raises(UserError, match="not a finished data set"):
        manifest.read_info(str(out))


def test_manifest_goes_before_the_shards_that_it_lists(folder, tmp_path, monkeypatch):
    """Without a train split nothing of val is written, and the shards of train are swept."""
    out = tmp_path / "records"
    build_coco(folder, out)
    vocabulary = tmp_path / "vocabulary.tsv"
    vocabulary.write_bytes((out / "vocabulary.tsv").read_bytes())
    folder.annotations("train").unlink()
    delete = files.delete

    def delete_one_shard(path: str) -> None:
        delete(path)
        if path.endswith(".tfrecord"):
            raise UserError("stopped here")

    monkeypatch.setattr(files, "delete", delete_one_shard)
    with pytest.raises(UserError, match="stopped here"):
        build_coco(folder, out, vocabulary=vocabulary)
    assert not (out / "dataset_info.json").exists()
    monkeypatch.undo()
    build_coco(folder, out, vocabulary=vocabulary)
    rebuilt = empty(out)
    build_coco(folder, out, vocabulary=vocabulary)
    assert rebuilt == contents(out)


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk on which each file may have `size` bytes only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def large_shard(folder: CocoFolder) -> str:
    folder.add("train", 60, jpeg(60, (400, 400), quality=95))
    return ".tfrecord"


def large_sidecar(folder: CocoFolder) -> str:
    for number in range(300):
        folder.add("val", 2000 + number, None)
    return "val-00000-of-00001.tfrecord.json"


def many_rejections(folder: CocoFolder) -> str:
    for split, first in (("train", 2000), ("val", 3000)):
        for number in range(150):
            folder.add(split, first + number, None)
    return "rejected.jsonl"


def many_words(folder: CocoFolder) -> str:
    for number in range(12):
        words = [f"{'long' * 9}{number}x{other}" for other in range(100)]
        captions = [" ".join(words[first : first + 20]) for first in range(0, 100, 20)]
        folder.add("train", 60 + number, jpeg(number, (8, 8)), captions)
    return "vocabulary.tsv"


def many_shards(folder: CocoFolder) -> str:
    for number in range(200):
        folder.add("train", 2000 + number, jpeg(number, (8, 8)), ["a dog"])
    return "dataset_info.json"


@pytest.mark.parametrize(
    "grow", [large_shard, large_sidecar, many_rejections, many_words, many_shards]
)
def test_a_full_disk_is_one_line_and_the_rerun_goes_on(folder, tmp_path, grow):
    victim = grow(folder)
    folder.write()
    out = tmp_path / "records"
    shards = {many_words: 12, many_shards: 40}.get(grow, 2)
    options = {"train_shards": shards, "max_rejected_fraction": 0.99}
    build_coco(folder, out, **options)
    expected = empty(out)
    largest = max(expected, key=lambda name: len(expected[name]))
    assert largest.endswith(victim)
    with (
        files_of_at_most(len(expected[largest]) - 1),
        pytest.raises(UserError, match=rf"{largest}: cannot be written: File too large; what was"),
    ):
        build_coco(folder, out, **options)
    left = contents(out)
    assert left.keys() <= expected.keys() - {"dataset_info.json", largest}
    assert all(left[name] == expected[name] for name in left)
    build_coco(folder, out, **options)
    assert contents(out) == expected


def test_no_room_for_temporary_files_is_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"no temporary files can be made: .*; TMPDIR names"):
        build_coco(folder, tmp_path / "records")
