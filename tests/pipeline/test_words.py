"""Captions as words in a build: other languages, unknown words, and vocabularies of nothing."""
# ruff: noqa: RUF001  (captions in Chinese)

import json

import pytest

from cli.errors import UserError
from records import manifest
from tests.support.records import build, checksums, jpeg, records, verify

CHINESE = ["一只狗在跑。", "红色的狗，在草地上"]


@pytest.fixture
def build_captions(tmp_path):
    """Build records of images with these captions; the last third of the images is val."""

    def build_them(captions, out="records", **options):
        lines = []
        for number, texts in enumerate(captions):
            (tmp_path / f"{number}.jpg").write_bytes(jpeg(seed=number))
            split = "val" if number >= len(captions) * 2 / 3 else "train"
            line = {"image": f"{number}.jpg", "captions": texts, "split": split}
            lines.append(json.dumps(line))
        (tmp_path / "captions.jsonl").write_text("\n".join(lines))
        directory = tmp_path / out
        return build(dataset="jsonl", data_dir=tmp_path, output_dir=directory, **options), directory

    return build_them


def test_chinese_is_learned_character_by_character(build_captions, capsys):
    info, out = build_captions([CHINESE] * 6, min_word_count=4)
    vocabulary = manifest.read_vocabulary(str(out))
    assert set(vocabulary.words[4:]) == set("一只狗在跑红色的草地上")
    first = records(out, "train")[0]
    assert list(first.captions) == CHINESE
    assert [vocabulary.decode(ids) for ids in first.caption_ids] == [
        "一只狗在跑",
        "红色的狗在草地上",
    ]
    assert info.splits["val"].unknown_share == 0
    assert verify(out) == 0
    assert "; 0.0% of 52 words unknown\n" in capsys.readouterr().out


def test_the_share_of_unknown_words_is_told_and_kept(build_captions, capsys):
    captions = [["a dog runs"]] * 4 + [["a dog barks"], ["the dog runs"]]
    info, out = build_captions(captions, min_word_count=1)
    kept = json.loads((out / "dataset_info.json").read_text())["splits"]["val"]["shards"]
    assert [(shard["words"], shard["unknown_words"]) for shard in kept] == [(6, 2)]
    assert info.splits["train"].unknown_share == 0
    assert info.splits["val"].unknown_share == pytest.approx(1 / 3)
    printed = capsys.readouterr().out
    assert "; 33.3% of 6 words unknown\n" in printed
    assert printed.count("warning:") == 1
    assert "warning: val: 33.3% of the words are not in the vocabulary" in printed
    build_captions([["a dog runs", "cats sleep"]] + [["a dog runs"]] * 5, min_word_count=2)
    assert "lower --min_word_count=2" in capsys.readouterr().out


def test_a_limited_vocabulary(build_captions, tmp_path, capsys):
    captions = [["a dog runs"]] * 4 + [["a dog barks"], ["the cat sleeps"]]
    limit = {"min_word_count": 1, "max_vocabulary": 2}
    info, out = build_captions(captions, **limit)
    vocabulary = manifest.read_vocabulary(str(out))
    assert vocabulary.words[4:] == ("a", "dog") and vocabulary.counts[:4] == (0, 4, 4, 4)
    assert info.vocabulary_size == 6 and info.flags.every["max_vocabulary"] == 2
    assert all(image.caption_ids == ((1, 4, 5, 3, 2),) for image in records(out, "train"))
    assert verify(out) == 0
    printed = capsys.readouterr().out
    assert "6 words (the 2 most frequent and 4 special ones); " in printed
    assert "warning: train: 33.3% of the words are not in" in printed
    assert printed.count(": raise --max_vocabulary=2\n") == 2

    build_captions(captions, **limit | {"max_vocabulary": 9})
    printed = capsys.readouterr().out
    assert "7 words (fewer than --max_vocabulary=9); " in printed
    assert "raise --max_vocabulary" not in printed


def test_a_given_vocabulary_is_used_unchanged_beside_a_limit(build_captions, capsys):
    captions = [["a dog runs"]] * 4 + [["a dog barks"], ["the cat sleeps"]]
    info, out = build_captions(captions, min_word_count=1)
    assert info.vocabulary_size == 7
    given = {"vocabulary": str(out), "max_vocabulary": 3}
    beside, other = build_captions(captions, "other", **given)
    assert beside.vocabulary_fingerprint == info.vocabulary_fingerprint
    assert checksums(other) == checksums(out)
    printed = capsys.readouterr().out
    assert "most frequent" not in printed and "--max_vocabulary" not in printed


def test_few_unknown_words_are_no_warning(build_captions, capsys):
    build_captions([["a dog runs " * 7]] * 5 + [["a cat runs " + "a dog runs " * 6]])
    printed = capsys.readouterr().out
    assert "2.4% of 42 words unknown" in printed and "warning" not in printed


@pytest.mark.parametrize(
    ("captions", "options", "message"),
    [
        (
            [["a dog runs"]],
            {"min_word_count": 50},
            "no word occurs --min_word_count=50 times, the most frequent of 3 words, 'a', 1",
        ),
        (
            [[f"rare{number}"] for number in range(6)],
            {},
            "give --min_word_count=1, or more captions",
        ),
        ([["rare a a"]], {}, "give --min_word_count=2 or less, or more captions"),
        ([["a " * 30]] * 3, {}, "more than --max_caption_words=21 words"),
        ([["..."]] * 3, {}, "no caption is left to learn words from"),
    ],
)
def test_a_vocabulary_of_nothing_is_refused(build_captions, tmp_path, captions, options, message):
    with pytest.raises(UserError, match=message):
        build_captions(captions, **options)
    assert not (tmp_path / "records" / "dataset_info.json").exists()
    assert not list((tmp_path / "records").glob("*.tfrecord*"))


def test_a_vocabulary_of_another_language_is_refused(build_captions, tmp_path):
    _, other = build_captions([CHINESE] * 3, "chinese", min_word_count=1)
    vocabulary = str(other / "vocabulary.tsv")
    with pytest.raises(UserError, match="none of the words of these captions, in train, val"):
        build_captions([["a dog runs"]] * 3, vocabulary=vocabulary)
    assert not (tmp_path / "records" / "dataset_info.json").exists()
    (tmp_path / "empty.tsv").write_text("<pad>\t0\n<start>\t1\n<end>\t1\n<unk>\t5\n")
    with pytest.raises(UserError, match=r"empty.tsv: there is no word but the special ones"):
        build_captions([["a dog runs"]] * 3, vocabulary=str(tmp_path / "empty.tsv"))


def test_many_long_captions_are_a_warning(build_captions, capsys):
    build_captions([["一只狗在跑", "一只狗在跑" * 5]] * 9)
    assert (
        "warning: train: 6 captions are left out: they have more than --max_caption_words=21"
        in (capsys.readouterr().out)
    )


def test_odd_captions_of_one_image(build_captions):
    """Line breaks, tabs, METEOR's separator, NUL, a megabyte, and a great many captions."""
    odd = ["two\nlines\tand\x00more", "one ||| two", "\u2028", "a" * 1_000_000, "dog " * 250_000]
    captions = [[*odd, *["a dog runs"] * 100_000], ["a dog runs"], [*odd, "a dog runs"]]
    _, out = build_captions(captions, min_word_count=1)
    train, val = records(out, "train"), records(out, "val")
    assert sorted(len(image.captions) for image in train) == [1, 100_003]
    assert [len(image.captions) for image in val] == [5]
    words = manifest.read_vocabulary(str(out)).words
    assert {"two", "lines", "and", "more", "|||"} <= set(words)
    assert verify(out) == 0
