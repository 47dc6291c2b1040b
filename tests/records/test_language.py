"""The tag of a language, and captions that are plainly not English."""

import pytest

from cli.errors import UsageError
from records import language


@pytest.mark.parametrize(
    ("tag", "checked", "english"),
    [
        ("en", "en", True),
        ("en-US", "en-us", True),
        ("eng", "eng", True),
        ("zh", "zh", False),
        ("pt-BR", "pt-br", False),
        ("zh-Hant-TW", "zh-hant-tw", False),
        ("enm", "enm", False),
    ],
)
def test_a_tag(tag, checked, english):
    assert language.checked(tag) == checked
    assert language.is_english(checked) is english


@pytest.mark.parametrize("tag", ["", "e", "chinese", "zh_CN", "zh-", "en us", "中文", "12", "en\n"])
def test_no_tag(tag):
    with pytest.raises(UsageError, match="expected the tag of a language") as caught:
        language.checked(tag)
    assert f"--language={tag}" in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "share"),
    [
        ({"一只狗": 1, "a": 1}, "75%"),
        ({"a dog": 1, "кот": 9}, "87%"),
        ({"كلب يجري": 1}, "100%"),
        ({"a dog and a кот": 1}, ""),
        ({"ein Hund läuft über die Straße": 1}, ""),
        ({"con chó chạy": 1}, ""),
        ({"12 !": 1, "🐶": 1}, ""),
        ({}, ""),
    ],
)
def test_captions_that_are_plainly_not_english(texts, share):
    line = language.hint(texts)
    assert line.startswith(share)
    assert ("--language=TAG" in line) is bool(share)
