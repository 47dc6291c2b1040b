"""Captions as words, and words as people write them."""
# ruff: noqa: RUF001  (captions in many scripts)

import hashlib
import json
import os
import random
import re
import time
from pathlib import Path

import pytest
from nltk.tokenize.destructive import MacIntyreContractions

from records import text
from records.text import detokenise, tokenise


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
    special = [
        re.sub(r"\(\?[i#][^)]*\)|\\[bs]|[()?]", "", pattern)
        for pattern in (*MacIntyreContractions.CONTRACTIONS2, *MacIntyreContractions.CONTRACTIONS3)
    ]
    assert "cannot" in special and "gimme" in special
    words = ["a", "dog", "7", "mr", "st", "co2", ".", "ph.d", "dog.", "etc.", "1.5", *special]
    draw = random.Random(0)
    for _ in range(3000):
        caption = " ".join(draw.choices(words, k=draw.randint(0, 5))) + draw.choice(["", ".", " ."])
        assert tokenise(caption) == text._treebank_words(" ".join(caption.split())), caption


def test_words_as_people_write_them():
    assert detokenise(["a", "dog", "'s", "bowl", "is", "n't", "full"]) == "a dog's bowl isn't full"


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        # Scripts without spaces: characters with their marks.
        ("一只 iPhone 手机在桌子上。", [*"一只", "iphone", *"手机在桌子上"]),
        ("3只狗，跑！", ["3", *"只狗跑"]),
        ("犬がコーヒーを「飲む」・ﾊﾞｽ", [*"犬がコーヒーを飲むバス"]),
        ("น้ำแข็ง 3 คน", ["น้ำ", "แ", "ข็", "ง", "3", "ค", "น"]),
        ("ນ້ຳເດັກ", ["ນ້ຳ", "ເ", "ດັ", "ກ"]),
        ("ភ្នំពេញ។", ["ភ្នំ", "ពេ", "ញ"]),
        ("မြန်မာ။", ["မြ", "န်", "မာ"]),
        ("ཁྱི་ནག་པོ།", ["ཁྱི", "ནག", "པོ"]),
        # Scripts with spaces: a mark is never cut from its letter.
        ("강아지가 달린다.", ["강아지가", "달린다"]),
        ("एक कुत्ता दौड़ रहा है।", ["एक", "कुत्ता", "दौड़", "रहा", "है"]),
        ("con cho\u0301 Việt", ["con", "chó", "việt"]),
        ("หมา\u200bแมว", ["ห", "ม", "า", "แ", "ม", "ว"]),
        ("مُحَمَّد كـلبٌ، می\u200cخواهد؟", ["محمد", "كلب", "می\u200cخواهد"]),
        ("ինչո՞ւ շուն։", ["ինչու", "շուն"]),
        # Punctuation by its category.
        ("“don’t” – the dog’s… ‘ball’", ["do", "n't", "the", "dog", "'s", "ball"]),
        ("¿Qué perro? ¡«Hola»!", ["qué", "perro", "hola"]),
        ("„кот“ и „пёс“; кот. Кот,пёс", ["кот", "и", "пёс", "кот", "кот", "пёс"]),
        ("λέξη· λέξη; ወንድ፡ልጅ።", ["λέξη", "λέξη", "ወንድ", "ልጅ"]),
        ("列奥·达", [*"列奥达"]),
        # What stays inside a word.
        ("d’eau l'homme n’était", ["d'eau", "l'homme", "n'était"]),
        ("don´t café’s col·lecció", ["do", "n't", "café", "'s", "col·lecció"]),
        ("п’ю п'ю м’який", ["п'ю", "п'ю", "м'який"]),
        ('צה״ל צה"ל צ׳יפס בית־ספר "כלב"', ['צה"ל', 'צה"ל', "צ'יפס", "בית-ספר", "כלב"]),
        ("o‘zbek oʻzbek o’zbek", ["o'zbek"] * 3),
        ("well‑known 10–12", ["well-known", "10", "12"]),
        # Lower case.
        ("İstanbul istanbul ΟΔΟΣ οδος STRAẞE", ["istanbul", "istanbul", "οδος", "οδος", "straße"]),
        # Symbols and emoji are one word each.
        ("€5 20°C ½ cup 5×3", ["€", "5", "20", "°", "c", "1/2", "cup", "5", "×", "3"]),
        ("a🐶b 👨‍👩‍👧🏃🏽‍♀️", ["a", "🐶", "b", "👨‍👩‍👧", "🏃🏽‍♀️"]),
        ("🇩🇪🇫🇷 🏴󠁧󠁢󠁥󠁮󠁧󠁿 1️⃣", ["🇩🇪", "🇫🇷", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1"]),
        # What nobody sees.
        ("\ufeffa\u200db\u200f soft\u00adly a\x00b \ufffd", ["ab", "softly", "a", "b"]),
        ("a\x00b\tc\u2028d \x7f", ["a", "b", "c", "d"]),
        ("\u0301 \u200d — ։", []),
    ],
)
def test_words_of_other_languages(caption, words):
    assert tokenise(caption) == words
    assert tokenise(detokenise(words)) == words


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([*"一只", "iphone", *"手机"], "一只 iphone 手机"),
        ([*"コーヒー", "🐶", "🐱", *"犬"], "コーヒー 🐶 🐱 犬"),
        (["น้ำ", "แ", "ข็", "ง", "3", "ค", "น"], "น้ำแข็ง 3 คน"),
        (["ཁྱི", "ནག", "པོ"], "ཁྱི་ནག་པོ"),
        (["чёрный", "кот", "和", "猫"], "чёрный кот 和猫"),
    ],
)
def test_scripts_without_spaces_are_joined_without_spaces(words, text):
    assert detokenise(words) == text


def test_a_capital_i_of_turkish_is_the_english_one():
    """Without the language nobody can know better; train and eval agree in any case."""
    assert tokenise("IŞIK ışık") == ["işik", "ışık"]


@pytest.mark.parametrize("unit", [".", "'", "狗", "é'", "é\u200d", "\u0301", "||| é ", "🇩", 'צ"'])
def test_a_very_long_caption_takes_no_longer_than_its_length(unit):
    started = time.process_time()
    assert detokenise(tokenise(unit * (100_000 // len(unit)))) is not None
    assert time.process_time() - started < 5


def test_english_stays_as_it_was():
    """Every caption of COCO val2017: what the tokens were before other languages had rules."""
    if not os.environ.get("CAPTION_DATA"):
        pytest.skip("CAPTION_DATA is not set: no COCO captions to compare on")
    file = Path(os.environ["CAPTION_DATA"], "coco2017_val_captions", "captions_val2017.json")
    captions = [a["caption"] for a in json.loads(file.read_bytes())["annotations"]]
    tokens = "\n".join(" ".join(tokenise(caption)) for caption in captions)
    assert hashlib.sha256(tokens.encode()).hexdigest() == (
        "bd9924d0640ee718a3bbe04fa430ddb8d0093db3d38eb538aa7e1762a19ba3ec"
    )
