"""The reward is pycocoevalcap's CIDEr-D, and its BLEU-4 of single captions, on integers."""

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider import Cider

from cli.errors import UserError
from records.vocabulary import END, UNK, Vocabulary
from trainer.self_critical import reward
from trainer.self_critical.reward import References, Reward

REFERENCES = {
    11: [
        "A dog runs through the tall grass.",
        "the brown dog is running in the grass",
        "a dog runs",
        "a dog runs",
        "The dog's ball lies in the grass",
    ],
    5: ["two cats sleep on the old red sofa", "cats on a sofa", "a a a a a a a a"],
    902: ["zebra"],
    7: ["a man in a red shirt and a man in a blue shirt", "a zamboni cleans the ice rink"],
    8: ["a dog", "the dog is in the grass with a man in a red shirt near the sofa of two old cats"],
}
# Words of the references that the model does not know.
UNKNOWN = ("zamboni", "rink", "tall")
CAPTIONS = [
    "a dog runs through the grass",
    "a dog runs",
    "",
    "dog",
    "zebra",
    "a a a a a a",
    "a man in a red shirt and a man in a red shirt and a man in a red shirt",
    "the unseen unseen unseen words unseen words",
    "a <unk> cleans the <unk>",
    "two cats sleep on the old red sofa",
    "two cats sleep on the old red sofa two cats sleep on the old red sofa in the grass",
    "the dog is running in the grass with a",
]


def vocabulary() -> Vocabulary:
    from records.text import tokenise

    texts = [text for texts in REFERENCES.values() for text in texts] + ["unseen words"]
    words = sorted({word for text in texts for word in tokenise(text)} - set(UNKNOWN))
    special = ("<pad>", "<start>", "<end>", "<unk>")
    return Vocabulary([*special, *words], [1] * (len(words) + 4))


def read(words: Vocabulary, references=REFERENCES) -> References:
    captions = [(image, [t.encode() for t in texts]) for image, texts in references.items()]
    return References.read(captions, words, "the records")


def encoded(words: Vocabulary, texts, ended=True) -> np.ndarray:
    rows = []
    for text in texts:
        ids = [UNK if w == "<unk>" else words.encode_words([w])[1] for w in text.split()]
        rows.append([*ids, END] if ended else ids)
    width = max(map(len, rows))
    return np.array([row + [0] * (width - len(row)) for row in rows])


def official(texts, ended=True, references=REFERENCES):
    """Return pycocoevalcap's CIDEr-D and BLEU-4 of each text for each image, with `<end>`."""
    from records.text import tokenise

    written = {
        image: [" ".join([*tokenise(text), "<end>"]) for text in texts if text]
        for image, texts in references.items()
    }
    end = " <end>" if ended else ""
    ciders, bleus = [], []
    for text in texts:
        hypotheses = {image: [f"{text}{end}".strip()] for image in written}
        ciders.append(Cider().compute_score(written, hypotheses)[1])
        scorer = BleuScorer(n=4)
        for image, caption in hypotheses.items():
            scorer += (caption[0], written[image])
        bleus.append(scorer.compute_score(option="closest", verbose=0)[1][3])
    return np.transpose(ciders), np.transpose(bleus)  # [B, N]


@pytest.mark.parametrize("ended", [True, False])
def test_scores_are_those_of_pycocoevalcap(ended):
    words = vocabulary()
    texts = CAPTIONS if ended else [text for text in CAPTIONS if text]
    captions = np.repeat(encoded(words, texts, ended)[None], len(REFERENCES), 0)
    cider, bleu = official(texts, ended)
    images = np.array(list(REFERENCES))
    ours = Reward(read(words))(images, captions)
    np.testing.assert_allclose(ours, cider, atol=1e-6)
    mixed = Reward(read(words), 0.5)(images, captions)
    np.testing.assert_allclose(mixed, cider + 0.5 * bleu, atol=1e-6)
    assert cider.max() > 3 and (cider == 0).any()


def test_the_images_of_a_batch_come_in_any_order_and_more_than_once():
    words = vocabulary()
    captions = encoded(words, CAPTIONS)
    images = np.array([8, 902, 8, 11])
    ours = Reward(read(words), 1.0)(images, np.repeat(captions[None], 4, 0))
    cider, bleu = official(CAPTIONS)
    rows = [list(REFERENCES).index(image) for image in images]
    np.testing.assert_allclose(ours, (cider + bleu)[rows], atol=1e-6)


def test_random_captions_score_as_pycocoevalcap_scores_them():
    rng = np.random.default_rng(3)
    words = vocabulary()

    def text():
        return " ".join(rng.choice(words.words[4:14], rng.integers(1, 12)))

    references = {image: [text() for _ in range(rng.integers(1, 6))] for image in range(60)}
    texts = [text() for _ in range(20)]
    captions = np.repeat(encoded(words, texts)[None], 60, 0)
    cider, bleu = official(texts, references=references)
    ours = Reward(read(words, references), 2.0)(np.arange(60), captions)
    np.testing.assert_allclose(ours, cider + 2 * bleu, atol=1e-6)


def test_records_of_single_pairs_score_as_those_of_whole_images(monkeypatch):
    monkeypatch.setattr(reward, "_CHUNK", 2)
    words = vocabulary()
    pairs = [
        (i, [t.encode(), b""])
        for k in range(5)
        for i in REFERENCES
        for t in REFERENCES[i][k : k + 1]
    ]
    captions = np.repeat(encoded(words, CAPTIONS)[None], len(REFERENCES), 0)
    ours = Reward(References.read(pairs, words, ""))(np.array(list(REFERENCES)), captions)
    np.testing.assert_allclose(ours, official(CAPTIONS)[0], atol=1e-6)


def test_an_end_in_the_middle_costs():
    """The reason why `<end>` is a word: without it the captions score alike."""
    words = vocabulary()
    texts = ["a dog runs", "a dog runs with a"]
    captions = np.repeat(encoded(words, texts)[None], 1, 0)
    complete, cut = Reward(read(words))(np.array([11]), captions)[0]
    assert complete > cut


@pytest.mark.parametrize("texts", [[], [b""], [b"...", b"!"]])
def test_an_image_without_texts_is_named(texts):
    with pytest.raises(UserError, match="DIR: image 4 of the training split has no caption texts"):
        References.read([(3, [b"a dog"]), (4, texts)], vocabulary(), "DIR")
