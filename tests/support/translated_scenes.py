"""Captions of the drawn scenes in Chinese, Arabic and Russian, translated by rule, and back.

A phrase ("two small red circles") is translated as a whole, in the case that its place asks for. A
relation is translated together with the phrase after it. So there is a table of everything that a
caption can consist of, and it leads back to English, whose claims `scenes.facts` checks.
"""
# ruff: noqa: RUF001, RUF003  (letters of other scripts)

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

from records.text import tokenise
from scenes import facts, grammar
from scenes.captions import NUMBERS, PLURALS, RELATION_WORDS
from scenes.world import COLOURS, SHAPES, SIZES, Scene

NOMINATIVE, GENITIVE, INSTRUMENTAL = "nominative", "genitive", "instrumental"


class Language(NamedTuple):
    """How to say a caption in another language.

    Attributes:
        fixed: English words that stand between phrases -> the same in the language, if it has any.
        relations: Relation -> words before the phrase, the phrase's case, words after it.
        phrase: Gives the name of (number, size, colour, shape) in a case.
    """

    fixed: Mapping[str, str]
    relations: Mapping[str, tuple[str, str, str]]
    phrase: Callable[[int, str, str, str, str], str]


def translate(caption: str, tag: str) -> str:
    """Return an English caption of a scene in another language."""
    language = LANGUAGES[tag]
    said: list[str] = []
    before, case, after = "", NOMINATIVE, ""
    for mark in grammar.marks(caption):
        if mark.phrase:
            said += [before, language.phrase(mark.phrase.number, *mark.phrase.kind, case), after]
            before, case, after = "", NOMINATIVE, ""
        elif mark.relation:
            before, case, after = language.relations[mark.relation]
        else:
            said.append(language.fixed[" ".join(mark.words)])
    return ("" if tag == "zh" else " ").join(filter(None, said))


def all_true(text: str, tag: str, scene: Scene) -> bool:
    """Return whether everything that a translated caption says is true of a scene."""
    true, total = facts.check(_english(text, tag), scene)
    return true == total


def _english(text: str, tag: str) -> str:
    """Return a translated caption in English; what is no part of the language stays as it is."""
    table, words, english = _table(tag), tokenise(text), []
    while words:
        length = next((n for n in range(len(words), 0, -1) if tuple(words[:n]) in table), 0)
        english.append(table[tuple(words[:length])] if length else words[0])
        words = words[length or 1 :]
    return " ".join(english)


@functools.cache
def _table(tag: str) -> dict[tuple[str, ...], str]:
    """Return words of the language -> the same in English."""
    language = LANGUAGES[tag]
    table = {tuple(tokenise(text)): english for english, text in language.fixed.items() if text}
    for number, *kind in itertools.product(NUMBERS, SIZES, COLOURS, SHAPES):
        size, colour, shape = kind
        noun = shape if number == 1 else PLURALS[shape]
        english = f"{'a' if number == 1 else NUMBERS[number]} {size} {colour} {noun}"
        table[tuple(tokenise(language.phrase(number, *kind, NOMINATIVE)))] = english
        for relation, (before, case, after) in language.relations.items():
            text = f"{before} {language.phrase(number, *kind, case)} {after}"
            table[tuple(tokenise(text))] = f"{RELATION_WORDS[relation]} {english}"
    return table


def _chinese(number: int, size: str, colour: str, shape: str, case: str) -> str:
    colours = dict(zip(COLOURS, "红绿蓝黄紫黑", strict=True))
    shapes = {"circle": "圆", "square": "方块", "triangle": "三角", "cross": "十字"}
    sizes = {"small": "小", "large": "大"}
    return f"{'一两三'[number - 1]}个{sizes[size]}{colours[colour]}{shapes[shape]}"


# Masculine and feminine, dual endings included: the noun comes first, the others agree with it.
_ARABIC = {
    "small": ("صغير", "صغيرة"),
    "large": ("كبير", "كبيرة"),
    "red": ("أحمر", "حمراء"),
    "green": ("أخضر", "خضراء"),
    "blue": ("أزرق", "زرقاء"),
    "yellow": ("أصفر", "صفراء"),
    "purple": ("بنفسجي", "بنفسجية"),
    "black": ("أسود", "سوداء"),
}
# Singular, plural.
_ARABIC_SHAPES = {
    "circle": ("دائرة", "دوائر"),
    "square": ("مربع", "مربعات"),
    "triangle": ("مثلث", "مثلثات"),
    "cross": ("صليب", "صلبان"),
}


def _arabic(number: int, size: str, colour: str, shape: str, case: str) -> str:
    one, many = _ARABIC_SHAPES[shape]
    feminine = one.endswith("ة")
    if number == 3:  # Things in the plural take adjectives in the feminine singular.
        return f"{'ثلاث' if feminine else 'ثلاثة'} {many} {_ARABIC[size][1]} {_ARABIC[colour][1]}"
    words = [one, _ARABIC[size][feminine], _ARABIC[colour][feminine]]
    if number == 2:
        ending = "ان" if case == NOMINATIVE else "ين"
        words = [_dual_stem(word) + ending for word in words]
    return " ".join(words)


def _dual_stem(word: str) -> str:
    if word.endswith("ة"):
        return word[:-1] + "ت"
    return word[:-1] + "و" if word.endswith("ء") else word


# Stem, and its vowels where hard adjectives have ы, о and а.
_RUSSIAN = {
    "small": ("маленьк", "иоа"),
    "large": ("больш", "иоа"),
    "red": ("красн", "ыоа"),
    "green": ("зелён", "ыоа"),
    "blue": ("син", "иея"),
    "yellow": ("жёлт", "ыоа"),
    "purple": ("лилов", "ыоа"),
    "black": ("чёрн", "ыоа"),
}
# Gender, and the endings of the noun: singular in three cases, plural in two.
_RUSSIAN_SHAPES = {
    "circle": ("m", "круг", ("", "а", "ом", "ов", "ами")),
    "square": ("f", "клетк", ("а", "и", "ой", "*", "ами")),
    "triangle": ("m", "треугольник", ("", "а", "ом", "ов", "ами")),
    "cross": ("n", "перекрести", ("е", "я", "ем", "й", "ями")),
}
_RUSSIAN_NUMBERS = {
    NOMINATIVE: {2: ("два", "две"), 3: ("три", "три")},
    GENITIVE: {2: ("двух", "двух"), 3: ("трёх", "трёх")},
    INSTRUMENTAL: {2: ("двумя", "двумя"), 3: ("тремя", "тремя")},
}


def _russian(number: int, size: str, colour: str, shape: str, case: str) -> str:
    gender, stem, endings = _RUSSIAN_SHAPES[shape]
    nominative, genitive, instrumental, genitive_plural, instrumental_plural = endings
    adjectives = [_agreeing(*_RUSSIAN[word], gender, number, case) for word in (size, colour)]
    if number == 1:
        noun = {NOMINATIVE: nominative, GENITIVE: genitive, INSTRUMENTAL: instrumental}[case]
        return " ".join([*adjectives, stem + noun])
    noun = {
        NOMINATIVE: genitive,  # два круга
        GENITIVE: genitive_plural,
        INSTRUMENTAL: instrumental_plural,
    }[case]
    noun = "клеток" if noun == "*" else stem + noun
    count = _RUSSIAN_NUMBERS[case][number][gender == "f"]
    return " ".join([count, *adjectives, noun])


def _agreeing(stem: str, vowels: str, gender: str, number: int, case: str) -> str:
    y, o, a = vowels
    if number > 1:
        nominative = f"{y}е" if gender == "f" else f"{y}х"
        ending = {NOMINATIVE: nominative, GENITIVE: f"{y}х", INSTRUMENTAL: f"{y}ми"}[case]
    elif gender == "f":
        ending = f"{a}я" if case == NOMINATIVE else f"{o}й"
    elif case == NOMINATIVE:
        ending = f"{o}е" if gender == "n" else "ой" if stem == "больш" else f"{y}й"
    else:
        ending = f"{o}го" if case == GENITIVE else f"{y}м"
    return stem + ending


def _fixed(*texts: str) -> dict[str, str]:
    english = (
        *("there is", "there are", "a picture of", "the picture shows", "in the picture"),
        *("is", "are", "and"),
    )
    return dict(zip(english, texts, strict=True))


LANGUAGES = {
    "zh": Language(
        _fixed("有", "有", "图中有", "这里是", "在图中", "就", "就", "和"),
        {
            "left of": ("在", GENITIVE, "左边"),
            "right of": ("在", GENITIVE, "右边"),
            "above": ("在", GENITIVE, "上面"),
            "below": ("在", GENITIVE, "下面"),
        },
        _chinese,
    ),
    "ar": Language(
        _fixed("هناك", "هناك", "في هذه الصورة", "هنا", "في الصورة", "", "", "و"),
        {
            "left of": ("على يسار", GENITIVE, ""),
            "right of": ("على يمين", GENITIVE, ""),
            "above": ("فوق", GENITIVE, ""),
            "below": ("تحت", GENITIVE, ""),
        },
        _arabic,
    ),
    "ru": Language(
        _fixed(
            *("есть", "есть", "на картинке", "здесь", "на рисунке"),
            *("находится", "находятся", "и"),
        ),
        {
            "left of": ("слева от", GENITIVE, ""),
            "right of": ("справа от", GENITIVE, ""),
            "above": ("над", INSTRUMENTAL, ""),
            "below": ("под", INSTRUMENTAL, ""),
        },
        _russian,
    ),
}
