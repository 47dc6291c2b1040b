"""How words become a sentence, against NLTK's detokeniser and the scripts without spaces."""

import json
import os
import random
import time
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from nltk.tokenize.treebank import TreebankWordDetokenizer

from records import joining
from records.joining import bits, join, to_tsv
from records.scripts import NO_SPACES
from records.text import detokenise, tokenise

_NLTK = TreebankWordDetokenizer()
_NEEDLESS_SPACE = regex.compile(rf"(?<={NO_SPACES}\p{{M}}*) (?={NO_SPACES})", regex.V1)
_BETWEEN_SYLLABLES = regex.compile(r"(?<=\p{Tibetan}) (?=\p{Tibetan})")

CLITICS = ("'s", "'m", "'d", "'ll", "'re", "'ve", "n't")
# Words that meet a rule, or nearly: 't apart, which is below.
WORDS = (
    *("a", "dog", "can", "pe-can", "pelican", "not", "nothing", "not-x", "cant", "add", "d", "'ye"),
    *("gon", "dragon", "wan", "swan", "na", "na-x", "got", "ta", "tab", "gim", "lem", "me", "men"),
    *("more", "'n", "'no", "is", "was", "isn", "dogs'", "o'", "ca", "u.s.", "st.", "a..", ".."),
    *("$", "#", "%", "&", "@", "<", ">", "5", "1,000", ":30", ",5", ".5", "8:25", "and/or", "+"),
    *(
        "犬",
        "が",
        "コ",
        "ー",
        "の",
        "น้ำ",
        "ค",
        "๕",
        "ມ",
        "ນ້ຳ",
        "ភ្នំ",
        "មြ",
        "မြ",
        "ㄅ",
        "ཁྱི",
        "ནག",
        "𠮷",
    ),
    *(
        "🐶",
        "👨‍👩‍👧",
        "🇩🇪",
        "كلب",
        "می‌خواهد",
        'צה"ל',
        "בית-ספר",
        "강아지가",
        "é",
        "chó",
        "кот",
        "€",
        "°",
        "½",
    ),
    *("<unk>", "<end>"),
)


def _nltk_join(words):
    text = _NLTK.detokenize(list(words))
    return _BETWEEN_SYLLABLES.sub(joining.TSHEG, _NEEDLESS_SPACE.sub("", text))


@pytest.mark.parametrize("clitics", [(), CLITICS], ids=["words", "clitics"])
def test_all_pairs_and_triples_are_joined_as_nltk_does(clitics):
    """Also at the end of a sentence and inside it."""
    for before in WORDS:
        for after in (*WORDS, *clitics):
            for words in ([before, after], ["the", before, after, "here"]):
                assert join(words) == _nltk_join(words)
    draw = random.Random(0)
    for _ in range(2_000):
        # After a clitic comes a word: what else there is stands below.
        words = draw.choices(WORDS, k=draw.randint(3, 7))
        if clitics:
            words.insert(draw.randint(1, len(words)), draw.choice(clitics))
        if "'d 'ye" not in " ".join(words):
            assert join(words) == _nltk_join(words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["a", "dog", "'s", "bowl", "is", "n't", "full"], "a dog's bowl isn't full"),
        (["dogs'", "'s"], "dogs' 's"),
        (["i", "can", "not", "gim", "me", "more", "'n", "one"], "i cannot gimme more'n one"),
        (["'t", "is", "a", "dog"], "'tis a dog"),
        (["$", "5", "#", "2", "50", "%"], "$5 #2 50%"),
        (["ཁྱི", "ནག", "dog"], "ཁྱི་ནག dog"),
        ([], ""),
    ],
)
def test_words_as_people_write_them(words, text):
    assert join(words) == text == detokenise(words)


@pytest.mark.parametrize(
    ("words", "text", "nltk"),
    [
        # NLTK's patterns take the space that the next clitic needs, so that theirs depends on more
        # than two words, and they drop the space before 'tis.
        (["it", "'s", "n't"], "it's n't", "it 'sn't"),
        (["he", "'d", "'ve"], "he'd 've", "he 'd've"),
        (["'s", "'s"], "'s 's", "'s's"),
        (["so", "'t", "is"], "so 'tis", "so'tis"),
        (["so", "'t", "was"], "so 'twas", "so'twas"),
    ],
)
def test_where_nltk_differs_the_words_come_back(words, text, nltk):
    """No caption of COCO or Flickr8k has these."""
    assert join(words) == text
    assert tokenise(text) == words
    assert _nltk_join(words) == nltk


def test_words_come_back_wherever_they_came_back_from_nltk():
    draw = random.Random(0)
    for _ in range(5_000):
        words = draw.choices((*WORDS, *CLITICS, "'t"), k=draw.randint(1, 4))
        if tokenise(_nltk_join(words)) == words:
            assert tokenise(join(words)) == words


@given(
    st.text(alphabet=st.sampled_from("an't'sdmecogw.,:$<>é犬ー\u0e19\u0e49ཁི🐶\u0301"), min_size=1)
)
def test_bits_fit_a_signed_int32(word):
    assert all(0 <= value < 2**31 for value in bits(word))


@given(st.lists(st.sampled_from((*WORDS, *CLITICS, "'t"))))
def test_a_sentence_is_the_fold_over_its_pairs(words):
    """What a reader of joins.tsv does, who knows of integers only."""
    ids = {word: number for number, word in enumerate(sorted(set(words)))}
    table = [tuple(map(int, line.split("\t"))) for line in to_tsv(sorted(set(words))).splitlines()]
    text = ""
    for place, word in enumerate(words):
        if place:
            shared = table[ids[words[place - 1]]][0] & table[ids[word]][1]
            text += " " if shared == 0 else "\u0f0b" if shared == joining.TIBETAN else ""
        text += word
    assert text == join(words)


@pytest.mark.parametrize(
    "unit", ["'", "a'", ".", "d", "犬", "\u0e01\u0e31", "\u0301", "ཁ", "<", "can"]
)
@pytest.mark.parametrize("end", ["", "a", "'", "犬"])
def test_a_very_long_word_takes_no_longer_than_its_length(unit, end):
    started = time.process_time()
    word = unit * (200_000 // len(unit)) + end
    assert join([word, "not", word]).endswith(end)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("name", ["coco", "flickr8k"])
def test_real_captions_are_joined_as_nltk_does(name):
    """Every caption, and sentences of any of their words."""
    if not os.environ.get("CAPTION_DATA"):
        pytest.skip("CAPTION_DATA is not set: no real captions to compare on")
    folder = Path(os.environ["CAPTION_DATA"])
    if name == "coco":
        file = folder / "coco2017_val_captions" / "captions_val2017.json"
        captions = [a["caption"] for a in json.loads(file.read_bytes())["annotations"]]
    else:
        lines = (folder / "flickr8k" / "Flickr8k.token.txt").read_text().splitlines()
        captions = [line.split("\t")[1] for line in lines]
    tokenised = [tokenise(caption) for caption in captions]
    for words in tokenised:
        assert join(words) == _nltk_join(words)
    vocabulary = sorted({word for words in tokenised for word in words} - set(CLITICS))
    draw = random.Random(0)
    for _ in range(2_000):
        words = [*draw.choices(vocabulary, k=4), draw.choice(CLITICS), draw.choice(vocabulary)]
        assert join(words) == _nltk_join(words)
