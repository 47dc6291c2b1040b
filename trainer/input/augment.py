"""Another view of each training image in every epoch (--augment): crops, colour, mirror images.

No view may make a caption of its image wrong:

- An image is mirrored only where none of its captions names a side, or text that a mirror would
  make unreadable. The words for these are English ones, so nothing is mirrored where captions do
  not look English.
- Crops keep most of an image. Where a caption names a side, they keep the middle in the middle, so
  that nothing changes sides.
- Brightness, contrast and saturation change, and no hue: red stays red.
"""

import dataclasses
import math
from typing import Any

import tensorflow as tf

from records.vocabulary import SPECIAL, Vocabulary
from trainer.input.reading import InputSource, Record

# Left, leftmost, right-handed, rightward; and what only a mirror changes besides.
_SIDES = r"(left|right)\w*|\w*clockwise|starboard|southpaw|(east|west)(ern|ward|wards|bound)?"
# What can be read: a mirror image of it says something else, or nothing.
_TEXT = (
    r"signs?|signage|letter(s|ing|ed)?|words?|texts?|writing|written|reads|says|saying"
    r"|spell(s|ed|ing)?|logos?|number(s|ed)?|label(s|ed|led)?|clocks?|graffiti|maps?"
)
_READABLE = r'[0-9"]'
_NAMES_A_SIDE = rf"(?s).*(\b({_SIDES}|{_TEXT})\b|{_READABLE}).*"
# These make up a third of the words of English captions. Other languages have some of them at most.
_ENGLISH_WORDS = ("the", "a", "an", "of", "with", "and", "is", "are", "on", "in", "at", "to")
_ENGLISH_SHARE, _ENGLISH_LEAST = 0.2, 3
_OFTEN = 0.005  # of all words

_MARGIN = 8 / 7  # side of the images that are cropped, to that of the crops: 256 to 224
_LEAST_AREA = 0.64  # of a crop, as a share of the image
_ASPECT = 4 / 3  # most of a crop's width to height, or height to width
_COLOUR = 0.2  # most that brightness, contrast and saturation change
_GREY = (0.299, 0.587, 0.114)  # what red, green and blue weigh in brightness
_DRAWS = 8  # random numbers of an image


@dataclasses.dataclass(frozen=True)
class AugmentedImages:
    """Images from a source as the encoder takes them, each another one in every epoch.

    Attributes:
        source: Where the images [B, side, side, 3] uint8 come from.
        size: Side of the augmented images, pixels.
        seed: Another one in each epoch. It and the image's id decide how an image is augmented, so
            a run resumes exactly.
        flips: Whether images may be mirrored whose captions name no side.
    """

    source: InputSource
    size: int
    seed: int
    flips: bool

    def stored(self, record: Record) -> Any:
        """Return the key of a record's image: that of the source, and what decides its view."""
        return self.source.stored(record), record.image_id, names_a_side(record.texts)

    def load(self, stored: Any) -> tf.Tensor:
        """Return augmented images.

        Args:
            stored: A batch of what `stored` returns, each [B].

        Returns:
            [B, size, size, 3] float32 in 0..255.
        """
        keys, image_ids, sided = stored
        draws = tf.map_fn(
            lambda image_id: tf.random.stateless_uniform([_DRAWS], [self.seed, image_id]),
            image_ids,
            fn_output_signature=tf.TensorSpec([_DRAWS], tf.float32),
        )
        boxes = crop_boxes(draws[:, :4], sided)
        mirrored = self.flips & ~sided & (draws[:, 4] < 0.5)
        boxes = tf.where(mirrored[:, None], tf.gather(boxes, [0, 3, 2, 1], axis=1), boxes)
        numbers = tf.range(tf.shape(boxes)[0])
        size = [self.size, self.size]
        images = tf.image.crop_and_resize(self.source.load(keys), boxes, numbers, size)
        return change_colours(images, draws[:, 5:])


def uncropped_side(size: int) -> int:
    """Return the side of the images that crops of `size` are taken from, pixels."""
    return round(size * _MARGIN)


def names_a_side(texts: tf.Tensor) -> tf.Tensor:
    """Tell whether a caption would be wrong about the mirror image: [N] string -> [] bool."""
    lower = tf.strings.lower(texts, encoding="utf-8")
    return tf.reduce_any(tf.strings.regex_full_match(lower, _NAMES_A_SIDE))


def looks_english(vocabulary: Vocabulary) -> bool:
    """Tell whether captions are English, by the share of words that any English text has.

    Args:
        vocabulary: Their words, and how often each was seen.
    """
    counts = dict(zip(vocabulary.words, vocabulary.counts, strict=True))
    total = sum(vocabulary.counts[len(SPECIAL) :])
    common = [counts.get(word, 0) for word in _ENGLISH_WORDS]
    often = [count for count in common if count > _OFTEN * total]
    return len(often) >= _ENGLISH_LEAST and sum(often) >= _ENGLISH_SHARE * total


def remark(flips: bool, trained: bool) -> str:
    """Return a line on what --augment does, and what it costs.

    Args:
        flips: Whether images may be mirrored.
        trained: Whether the encoder is trained, so that it runs in every epoch anyhow.
    """
    views = "crops and colours in every epoch"
    views += ", mirror images where no caption names a side" if flips else ""
    unlike = "" if flips else "; no mirror images: the captions do not look English"
    cost = "" if trained else "; no features are kept, so the encoder runs for every image of it"
    return f"--augment: {views}{unlike}{cost}"


def crop_boxes(draws: tf.Tensor, centred: tf.Tensor) -> tf.Tensor:
    """Return crops of random size, shape and place.

    Args:
        draws: [B, 4], uniform in 0..1: area, shape, and how far from the left and from above.
        centred: [B] bool: whether a crop lies in the middle between left and right.

    Returns:
        [B, 4]: top, left, bottom and right in 0..1.
    """
    area, shape, x, y = tf.unstack(draws, axis=1)
    area = _LEAST_AREA + (1.0 - _LEAST_AREA) * area
    aspect = tf.exp((2.0 * shape - 1.0) * math.log(_ASPECT))
    width = tf.minimum(tf.sqrt(area * aspect), 1.0)
    height = tf.minimum(tf.sqrt(area / aspect), 1.0)
    left = (1.0 - width) * tf.where(centred, 0.5, x)
    top = (1.0 - height) * y
    return tf.stack([top, left, top + height, left + width], 1)


def change_colours(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Change brightness, contrast and saturation, each up or down by up to a fifth.

    Args:
        images: [B, H, W, 3] float32 in 0..255.
        draws: [B, 3], uniform in 0..1.

    Returns:
        The images, in 0..255.
    """
    factors = 1.0 + _COLOUR * (2.0 * draws[:, None, None, :] - 1.0)  # [B, 1, 1, 3]
    brightness, contrast, saturation = tf.split(factors, 3, -1)
    grey = tf.reduce_sum(images * _GREY, -1, keepdims=True)
    images = grey + saturation * (images - grey)
    mean = tf.reduce_mean(grey, [1, 2], keepdims=True)
    images = brightness * (mean + contrast * (images - mean))
    return tf.clip_by_value(images, 0.0, 255.0)
