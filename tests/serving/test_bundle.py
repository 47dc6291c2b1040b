"""A bundle on disk, read without TensorFlow: it is as it was exported, or refused in one line."""

import importlib.util
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cli.errors import UserError
from pixels.square import square
from records import joining
from records.vocabulary import Vocabulary
from serving.bundle import golden, layout, runtime, words
from serving.bundle.golden import Golden, GoldenCaption
from serving.bundle.layout import Bundle
from serving.bundle.words import Words
from tests.support.bundles import write_card
from tests.support.four import FOUR_DETOKENISED


@pytest.fixture
def copied(four_bundle, tmp_path) -> Path:
    """A bundle that a test may damage."""
    return shutil.copytree(four_bundle, tmp_path / "bundle")


def refusal(bundle: Path) -> str:
    """The one line that refuses a bundle."""
    with pytest.raises(UserError) as caught:
        Bundle.read(str(bundle))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files(bundle: Path) -> list[Path]:
    return sorted(path for path in bundle.rglob("*") if path.is_file())


def test_a_bundle_says_what_it_is(four_bundle):
    bundle = Bundle.read(str(four_bundle))
    assert bundle.input_size == 64 and bundle.grid == (8, 8) and bundle.attends
    assert (bundle.n_best, bundle.quantized, bundle.card["search"]["max_words"]) == (3, False, 30)
    assert bundle.name == "four-run" and len(bundle.fingerprint) == 64
    of_files = {path.relative_to(four_bundle).as_posix() for path in files(four_bundle)}
    assert bundle.card["files"].keys() == of_files - {layout.CARD}
    best = [image.captions[0].text for image in bundle.golden()]
    assert best[-4:] == list(FOUR_DETOKENISED.values()) and len(best) == 8


@pytest.mark.parametrize("damage", ["cut", "a bit", "gone", "another"])
def test_damage_of_every_file_is_found(copied, damage):
    names = {path.relative_to(copied).as_posix() for path in files(copied)}
    assert names > {layout.CARD, layout.CARD_TEXT, layout.LITE_MODEL, layout.GOLDEN_CAPTIONS}
    for path in files(copied):
        content = path.read_bytes()
        if damage == "gone":
            path.unlink()
        elif damage == "cut":
            path.write_bytes(content[:-1])
        elif damage == "another":
            path.write_bytes(b"[]" + content)
        else:
            middle = len(content) // 2
            path.write_bytes(
                content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            )
        if (damage, path.name) == ("cut", layout.CARD):
            Bundle.read(str(copied))  # Only its last line break is gone.
        else:
            line = refusal(copied)
            assert str(path) in line
            assert "export it again" in line or "no bundle here" in line
        path.write_bytes(content)
    Bundle.read(str(copied))


@pytest.mark.parametrize("name", [layout.CARD, layout.CARD_TEXT, layout.GOLDEN_CAPTIONS])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(copied, name):
    (copied / name).unlink()
    os.mkfifo(copied / name)
    assert refusal(copied).startswith(f"{copied}/{name}: expected a file, found a folder, a pipe")


def test_an_edited_vocabulary_is_refused(copied):
    path = copied / layout.VOCABULARY
    lines = path.read_text().splitlines(keepends=True)
    lines[5], lines[6] = lines[6], lines[5]
    path.write_text("".join(lines))
    assert f"{path}: not the file that was exported: it was edited" in refusal(copied)


def test_an_edited_card_is_refused(copied):
    path = copied / layout.CARD
    path.write_text(path.read_text().replace('"four-run"', '"five-run"'))
    assert f"{path}: not the card that was exported: it was edited" in refusal(copied)


def test_a_newer_format_is_told(copied):
    write_card(copied, format=layout.FORMAT + 1)
    assert "a bundle of format 2, and this program reads format 1" in refusal(copied)


def test_what_is_no_bundle(four_run, tmp_path):
    assert "no bundle here" in refusal(tmp_path / "none")
    assert refusal(tmp_path).endswith("serving.export --run_dir=RUN --output_dir=BUNDLE`")
    assert "this is the folder of a run" in refusal(four_run)
    (tmp_path / "my-bundle").mkdir()
    (tmp_path / "my-bundle" / layout.CARD).write_text("{}")
    assert f"did you mean {tmp_path}/my-bundle" in refusal(tmp_path / "my-bundel")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"format": "1"}', "[" * 100_000, '{"format": 1}', "\xff"]
)
def test_a_card_of_anything(copied, text):
    (copied / layout.CARD).write_bytes(text.encode("latin-1"))
    assert "export it again" in refusal(copied)


@pytest.mark.parametrize(
    "changes",
    [
        {"input_size": 0},
        {"input_size": True},
        {"grid": [8]},
        {"grid": [8, "8"]},
        {"search": {}},
        {"files": {}},
        {"fingerprint": "0" * 64},
        {"attends": None},
    ],
)
def test_a_card_with_wrong_content(copied, changes):
    write_card(copied, **changes)
    assert str(copied / layout.CARD) in refusal(copied)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "a//b", "./a", "a\0b"])
def test_a_card_names_no_file_outside(copied, name):
    content = json.loads((copied / layout.CARD).read_text())["files"]
    content |= {name: {"bytes": 0, "sha256": "0"}}
    write_card(copied, files=content, fingerprint=layout.fingerprint(content))
    assert "names a file outside of the bundle" in refusal(copied)


def test_golden_captions_of_something_else(copied):
    path = copied / layout.GOLDEN_CAPTIONS
    for text in ("{}x", "3", '[{"file": "01.jpg"}]', '[{"file": "../x", "captions": []}]'):
        path.write_text(text)
        write_card(copied)
        bundle = Bundle.read(str(copied))
        with pytest.raises(UserError, match=r"golden\.json: .*; copy the bundle again"):
            bundle.golden()


def test_words_are_joined_as_the_records_join_them(four_bundle):
    assert words.TIBETAN == joining.TIBETAN and words.TSHEG == joining.TSHEG
    of_bundle = Bundle.read(str(four_bundle)).words
    vocabulary = Vocabulary.from_tsv((four_bundle / layout.VOCABULARY).read_text(), "")
    assert of_bundle.words == vocabulary.words
    rng = np.random.default_rng(0)
    for _ in range(200):
        ids = rng.integers(4, len(vocabulary), rng.integers(0, 7)).tolist()
        assert of_bundle.join(ids) == vocabulary.decode(ids)
    assert of_bundle.ids_of_words([1, 5, 6, 2, 0, 7]) == [5, 6]


def test_a_tsheg_stands_between_syllables():
    of_two = Words(("a", "b"), (1, 3), (1, 2))
    assert of_two.join([0, 0]) == "a\u0f0ba" and of_two.join([0, 1]) == "a b"
    assert of_two.join([1, 1]) == "bb" and of_two.join([]) == ""


@pytest.mark.parametrize("joins", ["", "1\t2\n", "1\n" * 3, "1\tx\n" * 3, "1\t-2\n" * 3])
def test_joins_of_another_length_or_kind(joins):
    with pytest.raises(ValueError):
        Words.parse("a\t1\nb\t1\nc\t1\n", joins)


def caption(text: str, score: float) -> GoldenCaption:
    return GoldenCaption(text, tuple(text.split()), score)


def test_golden_captions_may_change_places_where_they_tie():
    first, second, third = caption("a b", -1.0), caption("a c", -1.00001), caption("a d", -2.0)
    expected = (first, second, third)
    assert golden.difference(expected, expected) is None
    assert golden.difference(expected, (second, first, third)) is None
    assert golden.difference(expected, (caption("a b", -1.1), second, third))
    assert golden.difference(expected, (third, second, first))
    assert (
        golden.difference(expected, (first, second)) == "expected 'a d' (-2.0000), got no caption"
    )
    assert "got 'a x'" in golden.difference(expected, (first, caption("a x", -1.0), third))


def test_only_litert_has_captions_of_its_own_where_it_is_quantised():
    image = Golden("01.png", (caption("a", -1),), (caption("b", -1),))
    assert [image.expected(name)[0].text for name in ("tensorflow", "litert")] == ["a", "b"]
    assert golden.parse(golden.to_json([image])) == [image]


@pytest.mark.parametrize("kind", ["tensorflow", "litert"])
def test_a_runtime_gives_the_golden_captions_to_many_threads(four_bundle, kind):
    bundle = Bundle.read(str(four_bundle))
    loaded = runtime.open_runtime(bundle, kind)
    assert loaded.name == kind and loaded.parallel >= 1
    images = bundle.golden()
    contents = [(four_bundle / layout.GOLDEN / image.file).read_bytes() for image in images]
    pixels = np.stack([square(content, bundle.input_size) for content in contents])

    def check(count: int) -> None:
        for image, captions in zip(images, loaded.caption(pixels[:count]), strict=False):
            assert golden.difference(image.expected(kind), captions) is None
            for found in captions:
                assert found.attention.shape == (len(found.words), *bundle.grid)
                np.testing.assert_allclose(found.attention.sum((1, 2)), 1, atol=1e-4)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, [1, 3, 8, 5, 1, 2]))


def test_a_missing_package_is_a_line(four_bundle, monkeypatch):
    bundle = Bundle.read(str(four_bundle))
    find = importlib.util.find_spec
    missing: set[str] = set()
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )
    missing.add("tensorflow")
    assert runtime.open_runtime(bundle).name == "litert"
    with pytest.raises(
        UserError, match=r"needs the package tensorflow, .*pip install '\.\[serve\]"
    ):
        runtime.open_runtime(bundle, "tensorflow")
    missing.add("ai_edge_litert")
    with pytest.raises(UserError, match=r"ai_edge_litert, .*pip install '\.\[serve-lite\]"):
        runtime.open_runtime(bundle)


def test_a_model_that_is_none_is_a_line(copied):
    (copied / layout.LITE_MODEL).write_bytes(b"no model")
    (copied / "1" / "saved_model.pb").write_bytes(b"no model")
    write_card(copied)
    bundle = Bundle.read(str(copied))
    with pytest.raises(UserError, match=r"model\.tflite: LiteRT cannot load it"):
        runtime.open_runtime(bundle, "litert")
    with pytest.raises(UserError, match=r"bundle/1: TensorFlow cannot load it"):
        runtime.open_runtime(bundle, "tensorflow")
