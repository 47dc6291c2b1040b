"""The job from end to end: what lies in the folder, what is in the records."""

import json
import os

import pytest

from cli.errors import UsageError, UserError
from records import manifest
from tests.support.records import (
    WORDS,
    CocoFolder,
    build,
    build_coco,
    checksums,
    jpeg,
    records,
    rejected,
    verify,
)


@pytest.fixture
def folder(tmp_path):
    return CocoFolder(tmp_path / "coco")


def test_folder_holds_what_the_contract_lists_and_nothing_else(folder, tmp_path, capsys):
    out = tmp_path / "records"
    info = build_coco(folder, out)
    shards = ["train-00000-of-00002", "train-00001-of-00002", "val-00000-of-00001"]
    expected = {"dataset_info.json", "vocabulary.tsv", "rejected.jsonl"}
    expected |= {f"{s}.tfrecord" for s in shards} | {f"{s}.tfrecord.json" for s in shards}
    assert set(os.listdir(out)) == expected
    assert [s.listed for s in info.splits["train"].shards] == [6, 6]
    assert info.splits["train"].total("pairs") == 12 * len(WORDS)
    assert info.flags.every["min_word_count"] == 1 and info.flags.every["data_dir"] == str(
        folder.path
    )
    assert verify(out, "--decode") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("building coco2017 from ") and "18 images" in printed
    assert "all is well" in printed


def test_tensorflow_reads_what_the_job_wrote(folder, tmp_path):
    import tensorflow as tf

    out = tmp_path / "records"
    build_coco(folder, out)
    ragged = tf.io.RaggedFeature(tf.int64)
    read = {}
    for shard in sorted(out.glob("train-*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(shard)):
            context, lists = tf.io.parse_single_sequence_example(
                record,
                context_features={
                    "image/id": tf.io.FixedLenFeature([], tf.int64),
                    "image/file_name": tf.io.FixedLenFeature([], tf.string),
                    "image/encoded": tf.io.FixedLenFeature([], tf.string),
                },
                sequence_features={
                    "caption/ids": ragged,
                    "caption/text": tf.io.FixedLenSequenceFeature([], tf.string),
                },
            )
            read[int(context["image/id"])] = context, lists
    assert sorted(read) == list(range(12))
    context, lists = read[3]
    assert context["image/encoded"].numpy() == jpeg(3)
    assert context["image/file_name"].numpy() == b"000000000003.jpg"
    assert tf.io.decode_jpeg(context["image/encoded"], channels=3).shape == (32, 40, 3)
    assert [t.decode() for t in lists["caption/text"].numpy()] == list(WORDS)
    vocabulary = manifest.read_vocabulary(str(out))
    assert [vocabulary.decode(ids) for ids in lists["caption/ids"].to_list()] == [
        "a dog runs",
        "two dogs run fast",
        "the dog's ball",
        "a red ball here",
        "it is a dog",
    ]


def test_strict_pairs_are_the_same_pairs(folder, tmp_path):
    together, pairs = tmp_path / "together", tmp_path / "pairs"
    build_coco(folder, together)
    info = build_coco(folder, pairs, captions_per_record=1)
    assert info.splits["train"].total("records") == 12 * len(WORDS)
    assert info.splits["train"].total("images") == 12

    def flat(directory):
        return [
            (image.image_id, text, ids, image.encoded)
            for image in records(directory, "train")
            for text, ids in zip(image.captions, image.caption_ids, strict=True)
        ]

    assert all(len(image.captions) == 1 for image in records(pairs, "train"))
    assert flat(pairs) == flat(together)
    assert verify(pairs, "--decode") == 0


def test_vocabulary_is_of_kept_training_captions_only(folder, tmp_path):
    folder.add("train", 90, jpeg(90), ["zebra zebra", "long " * 30, "  "])
    folder.add("val", 1090, jpeg(91), ["walrus", "long " * 30])
    folder.write()
    out = tmp_path / "records"
    info = build_coco(folder, out, max_caption_words=21, min_word_count=2)
    words = manifest.read_vocabulary(str(out)).words
    assert "zebra" in words and "walrus" not in words and "long" not in words
    # Of val every caption with a word in it stays.
    val = {image.image_id: image.captions for image in records(out, "val")}
    assert val[1090] == ("walrus", "long " * 30)
    assert info.splits["train"].rejected == {"empty_caption": 1, "long_caption": 1}
    assert {line.get("caption_id") for line in rejected(out)} == {61, 62}


def test_given_vocabulary_serves_a_source_without_train_split(folder, tmp_path, capsys):
    build_coco(folder, tmp_path / "first")
    folder.annotations("train").unlink()
    with pytest.raises(UserError, match=r"captions_train2017\.json: no such file; --download"):
        build_coco(folder, tmp_path / "second")
    info = build_coco(folder, tmp_path / "second", vocabulary=tmp_path / "first")
    assert list(info.splits) == ["val"]
    assert "no train split" in capsys.readouterr().out
    first, second = (tmp_path / n / "vocabulary.tsv" for n in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_images_are_resized_by_the_shorter_side(folder, tmp_path):
    import simplejpeg

    folder.add("train", 80, jpeg(80, (90, 50), "CMYK"))
    folder.add("train", 81, jpeg(81, (30, 70), "L"))
    folder.write()
    out = tmp_path / "records"
    build_coco(folder, out, image_size=24)
    sizes = {i.image_id: simplejpeg.decode_jpeg_header(i.encoded) for i in records(out, "train")}
    assert sizes[80][:2] == (24, 43) and sizes[81][:2] == (56, 24) and sizes[0][:2] == (24, 30)
    assert {colours[2] for colours in sizes.values()} == {"YCbCr"}


def test_too_many_rejected_images_fail_and_keep_the_shards(folder, tmp_path, capsys):
    for number in range(3):
        folder.add("train", 50 + number, None)
    folder.write()
    out = tmp_path / "records"
    message = r"train: 3 of 15 images were rejected \(missing_file 3\), see .*rejected\.jsonl"
    with pytest.raises(UserError, match=message):
        build_coco(folder, out)
    assert not (out / "dataset_info.json").exists() and len(rejected(out)) == 3
    build_coco(folder, out, max_rejected_fraction=0.2)
    assert "3 of 3 shards were finished before and kept" in capsys.readouterr().out
    assert verify(out) == 0


def test_more_shards_than_images_is_wrong_usage(folder, tmp_path):
    message = r"^--train_shards=13: the split train has 12 images only$"
    with pytest.raises(UsageError, match=message):
        build_coco(folder, tmp_path / "records", train_shards=13)


def test_default_dataset_is_coco_where_it_lies_else_scenes(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    info = build(data_dir=folder.path, output_dir="data/records/a")
    assert info.dataset == "coco2017"
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith("into data/records/a: found COCO 2017: --dataset=coco2017")
    info = build(scenes_images=20, scenes_seed=3, output_dir="data/records/b")
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("building scenes from data/scenes into data/records/b: no COCO 2017")
    assert "--download fetches it there" in first
    assert info.dataset == "scenes" and list(info.splits) == ["train", "val", "test"]
    assert info.flags.scenes_images == 20 and info.flags.scenes_seed == 3
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        build(data_dir=tmp_path / "nowhere", output_dir="data/records/c")
    with pytest.raises(UserError, match=r"captions_train2017\.json: no such file"):
        build(dataset="coco2017", output_dir="data/records/c")


def test_flickr8k(tmp_path, capsys):
    source = tmp_path / "flickr"
    (source / "Flicker8k_Dataset").mkdir(parents=True)
    names = [f"{100 + n}_ab{n}.jpg" for n in range(6)]
    for number, name in enumerate(names):
        (source / "Flicker8k_Dataset" / name).write_bytes(jpeg(number))
    tokens = [f"{name}#{n}\t{text} .\n" for name in names for n, text in enumerate(WORDS)]
    (source / "Flickr8k.token.txt").write_text("".join(tokens))
    (source / "Flickr_8k.trainImages.txt").write_text("\n".join(names[:4]) + "\n")
    (source / "Flickr_8k.devImages.txt").write_text("\r\n".join(names[4:5]))
    out = tmp_path / "records"
    info = build(dataset="flickr8k", data_dir=source, output_dir=out, min_word_count=1)
    assert {name: split.total("images") for name, split in info.splits.items()} == {
        "train": 4,
        "val": 1,
    }
    assert "no test split: " in capsys.readouterr().out
    image = records(out, "val")[0]
    assert image.image_id == 104 and image.captions == tuple(f"{text} ." for text in WORDS)
    assert rejected(out) == [] and verify(out, "--decode") == 0
    (source / "Flickr8k.token.txt").write_text("no tab here\n")
    with pytest.raises(UserError, match=r"token\.txt:1: expected `name\.jpg#0<TAB>caption`"):
        build(dataset="flickr8k", data_dir=source, output_dir=out)


def test_shards_do_not_depend_on_the_number_of_workers(folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    build_coco(folder, one, train_shards=4, val_shards=2)
    build_coco(
        folder,
        two,
        "--runner",
        "DirectRunner",
        "--direct_num_workers=2",
        train_shards=4,
        val_shards=2,
    )
    assert checksums(one) == checksums(two)
    for name in ("rejected.jsonl", "vocabulary.tsv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    infos = [json.loads((path / "dataset_info.json").read_text()) for path in (one, two)]
    for info in infos:
        del info["flags"]["output_dir"]
    assert infos[0] == infos[1]
