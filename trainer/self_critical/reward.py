"""The reward of a caption: its CIDEr-D, if wanted with its BLEU-4, against its image's references.

CIDEr-D is that of pycocoevalcap, with the document frequencies of the training split, and BLEU-4
that of pycocoevalcap for a single caption. Both count `<end>` as a word, in captions and in
references: otherwise captions that end in "with a" are rewarded.

Words are integers. An n-gram is one integer of 64 bits, a polynomial of its words; two n-grams of a
data set like COCO share one with a probability below a millionth. All captions of a batch are
scored together by sorting n-grams, without a loop over them.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from cli.errors import UserError
from records.text import tokenise
from records.vocabulary import END, Vocabulary

ORDERS = 4  # n-grams of 1 to 4 words
_SIGMA = 6.0  # of CIDEr-D's Gaussian of the difference in length
_SCALE = 10.0  # of CIDEr-D
_TINY, _SMALL = 1e-15, 1e-9  # BLEU's, against products and quotients of 0
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit of an earlier word is lost
_CHUNK = 2_000  # images whose n-grams are counted together


class NGrams(NamedTuple):
    """All n-grams of C captions."""

    caption: np.ndarray  # [E] int64
    order: np.ndarray  # [E] int64: n - 1
    key: np.ndarray  # [E] uint64


def ngrams(words: np.ndarray) -> NGrams:
    """Return the n-grams of captions.

    Args:
        words: [C, T] int, 0 after the last word.
    """
    real, words = words != 0, words.astype(np.uint64)
    keys, parts = words, []
    for order in range(min(ORDERS, words.shape[1])):
        if order:
            keys = keys[:, :-1] * _MULTIPLIER + words[:, order:]
        caption, place = np.nonzero(real[:, order:])
        parts.append((caption, np.full(len(caption), order), keys[caption, place]))
    if not parts:
        empty = np.zeros(0, np.int64)
        return NGrams(empty, empty, empty.astype(np.uint64))
    return NGrams(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@dataclasses.dataclass(frozen=True)
class References:
    """The references of the training images, and in how many images each n-gram occurs.

    Attributes:
        rows: Image id -> its row.
        first: [images + 1] int64: the references of row i are those from first[i] to first[i + 1].
        bounds: [references + 1] int64: the words of reference r are bounds[r] to bounds[r + 1].
        words: int32: the words of all references, each with `<end>`.
        keys: [n-grams] uint64, sorted: all n-grams of the references.
        weights: [n-grams] float64: log of images / images that have it.
    """

    rows: dict[int, int]
    first: np.ndarray
    bounds: np.ndarray
    words: np.ndarray
    keys: np.ndarray
    weights: np.ndarray

    @classmethod
    def read(
        cls, captions: Iterable[tuple[int, Sequence[bytes]]], vocabulary: Vocabulary, where: str
    ) -> "References":
        """Read the references of a split.

        Words that the vocabulary lacks get numbers of their own, so that they count in CIDEr-D as
        they do in an evaluation.

        Args:
            captions: Image id and captions as annotated; an image may come several times.
            vocabulary: The words of the model.
            where: The records, for messages.

        Raises:
            UserError: An image has no text.
        """
        numbers = {word: number for number, word in enumerate(vocabulary.words)}
        by_image: dict[int, list[list[int]]] = {}
        for image_id, texts in captions:
            references = by_image.setdefault(image_id, [])
            for words in filter(None, (tokenise(text.decode()) for text in texts if text)):
                references.append([*(numbers.setdefault(w, len(numbers)) for w in words), END])
        for image_id, references in by_image.items():
            if not references:
                raise UserError(
                    f"{where}: image {image_id} of the training split has no caption texts, which"
                    " --stage=scst compares captions with; build the records again"
                )
        flat = [reference for references in by_image.values() for reference in references]
        first = _sums([len(references) for references in by_image.values()])
        bounds = _sums([len(reference) for reference in flat])
        words_of_all = np.fromiter((w for reference in flat for w in reference), np.int32)
        rows = {image_id: row for row, image_id in enumerate(by_image)}
        empty = np.zeros(0)
        unweighted = cls(rows, first, bounds, words_of_all, empty.astype(np.uint64), empty)
        keys, weights = unweighted._document_weights()
        return dataclasses.replace(unweighted, keys=keys, weights=weights)

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the references of some images.

        Args:
            rows: [B] int64.

        Returns:
            Their words [R, T] int32, 0 after the last; the place in `rows` of the image of each
            [R]; its place among the references of that image [R].
        """
        counts = self.first[rows + 1] - self.first[rows]
        image = np.repeat(np.arange(len(rows)), counts)
        place = np.arange(len(image)) - np.repeat(np.cumsum(counts) - counts, counts)
        reference = self.first[rows][image] + place
        begin, end = self.bounds[reference], self.bounds[reference + 1]
        column = np.arange((end - begin).max(initial=0))
        at = begin[:, None] + column
        inside = at < end[:, None]
        return np.where(inside, self.words[np.where(inside, at, 0)], 0), image, place

    def _document_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Return `keys` and `weights`."""
        images = len(self.rows)
        distinct = []
        for start in range(0, images, _CHUNK):
            words, image, _ = self.of(np.arange(start, min(start + _CHUNK, images)))
            grams = ngrams(words)
            order = np.lexsort((grams.key, image[grams.caption]))
            key, owner = grams.key[order], image[grams.caption][order]
            new = np.ones(len(key), bool)
            new[1:] = (key[1:] != key[:-1]) | (owner[1:] != owner[:-1])
            distinct.append(key[new])
        keys, counts = np.unique(np.concatenate(distinct), return_counts=True)
        return keys, np.log(float(images)) - np.log(counts)

    def weights_of(self, keys: np.ndarray) -> np.ndarray:
        """Return the weight of n-grams; one that no reference has counts as if one image had it."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(
            self.keys[places] == keys, self.weights[places], np.log(float(len(self.rows)))
        )


def _sums(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.array(counts, np.int64))]).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Reward:
    """Scores captions of training images.

    Attributes:
        references: Those of the training split.
        bleu_weight: Weight of BLEU-4, which is added to CIDEr-D.
    """

    references: References
    bleu_weight: float = 0.0

    def __call__(self, image_ids: np.ndarray, captions: np.ndarray) -> np.ndarray:
        """Score N captions of each of B images.

        Args:
            image_ids: [B].
            captions: [B, N, T] int: words, `<end>` where a caption has one, then 0.

        Returns:
            [B, N] float64.
        """
        overlap = _overlap(self.references, image_ids, captions)
        scores = _cider_d(overlap)
        if self.bleu_weight:
            scores = scores + self.bleu_weight * _bleu_4(overlap)
        return scores.reshape(captions.shape[:2])


class _Overlap(NamedTuple):
    """The n-grams of H captions, and how often each of R references of the same image has them.

    R is the largest number of references of an image; the places of an image with fewer are empty.
    """

    place: np.ndarray  # [E] int64: caption * ORDERS + order
    weight: np.ndarray  # [E] float64
    times: np.ndarray  # [E] int64, in the caption
    reference_times: np.ndarray  # [E, R] int64, in the references
    norms: np.ndarray  # [H, ORDERS]
    reference_norms: np.ndarray  # [H, ORDERS, R]
    lengths: np.ndarray  # [H] words
    reference_lengths: np.ndarray  # [H, R] words; 0: there is no such reference


def _overlap(references: References, image_ids: np.ndarray, captions: np.ndarray) -> _Overlap:
    images, samples, _ = captions.shape
    total = images * samples
    rows = np.array([references.rows[int(image_id)] for image_id in image_ids])
    reference_words, reference_image, reference_place = references.of(rows)
    words = _stacked(captions.reshape(total, -1), reference_words)
    image = np.concatenate([np.repeat(np.arange(images), samples), reference_image])

    grams = ngrams(words)
    keys, first, gram = np.unique(grams.key, return_index=True, return_inverse=True)
    order, weights = grams.order[first], references.weights_of(keys)
    pair, count = np.unique(grams.caption * len(keys) + gram, return_counts=True)
    caption, gram = np.divmod(pair, max(1, len(keys)))
    place = caption * ORDERS + order[gram]
    squares = np.square(count * weights[gram])
    norms = np.sqrt(np.bincount(place, squares, len(words) * ORDERS)).reshape(-1, ORDERS)

    # The references' counts as a table: a row for each n-gram of an image.
    key_of_image = image[caption] * len(keys) + gram
    sampled = caption < total
    table_keys, table_row = np.unique(key_of_image[~sampled], return_inverse=True)
    width = int(reference_place.max()) + 1
    table = np.zeros((len(table_keys) + 1, width), np.int64)
    table[table_row, reference_place[caption[~sampled] - total]] = count[~sampled]
    wanted = key_of_image[sampled]
    at = np.searchsorted(table_keys, wanted)
    hit = table_keys[np.minimum(at, len(table_keys) - 1)] == wanted
    lengths = np.count_nonzero(words, 1)
    reference_lengths = np.zeros((images, width), np.int64)
    reference_lengths[reference_image, reference_place] = lengths[total:]
    reference_norms = np.zeros((images, ORDERS, width))
    reference_norms[reference_image, :, reference_place] = norms[total:]
    return _Overlap(
        place[sampled],
        weights[gram[sampled]],
        count[sampled],
        table[np.where(hit, at, len(table_keys))],
        norms[:total],
        np.repeat(reference_norms, samples, 0),
        lengths[:total],
        np.repeat(reference_lengths, samples, 0),
    )


def _stacked(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Return both one above the other, with 0 to the right of the narrower."""
    width = max(upper.shape[1], lower.shape[1])
    return np.concatenate(
        [np.pad(part, [(0, 0), (0, width - part.shape[1])]) for part in (upper, lower)]
    )


def _cider_d(overlap: _Overlap) -> np.ndarray:
    """Return the CIDEr-D of each caption, [H]."""
    total, width = overlap.reference_lengths.shape
    times, weight = overlap.times[:, None], overlap.weight[:, None]
    matched = np.minimum(times, overlap.reference_times)
    products = matched * overlap.reference_times * np.square(weight)
    places = overlap.place[:, None] * width + np.arange(width)
    sums = np.bincount(places.ravel(), products.ravel(), total * ORDERS * width)
    norms = overlap.norms[..., None] * overlap.reference_norms
    cosines = sums.reshape(total, ORDERS, width) / np.where(norms == 0, 1, norms)
    # The official code takes the number of pairs of words for the length.
    pairs = np.maximum(overlap.lengths - 1, 0)[:, None]
    reference_pairs = np.maximum(overlap.reference_lengths - 1, 0)
    likeness = np.exp(-np.square(pairs - reference_pairs) / (2 * _SIGMA**2))
    of_reference = cosines.mean(1) * likeness
    return _SCALE * of_reference.sum(1) / np.count_nonzero(overlap.reference_lengths, 1)


def _bleu_4(overlap: _Overlap) -> np.ndarray:
    """Return the BLEU-4 of each caption, [H]."""
    total = len(overlap.lengths)
    matched = np.minimum(overlap.times, overlap.reference_times.max(1))
    correct = np.bincount(overlap.place, matched, total * ORDERS).reshape(total, ORDERS)
    lengths, reference_lengths = overlap.lengths[:, None], overlap.reference_lengths
    guessed = np.maximum(lengths - np.arange(ORDERS), 0)
    precision = np.prod((correct + _TINY) / (guessed + _SMALL), 1) ** (1 / ORDERS)
    # The closest length; of two as close, the shorter.
    distance = 2 * np.abs(reference_lengths - lengths) + (reference_lengths > lengths)
    distance = np.where(reference_lengths == 0, np.iinfo(np.int64).max, distance)
    closest = np.take_along_axis(reference_lengths, distance.argmin(1)[:, None], 1)[:, 0]
    ratio = (overlap.lengths + _TINY) / (closest + _SMALL)
    return precision * np.exp(np.minimum(0, 1 - 1 / ratio))
