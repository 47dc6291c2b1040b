"""A picture of captions: each image with the attention of each word.

A caption that reads from right to left stands at the right, and so do its first words.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from captioning import fonts
from captioning.fonts import FontFile

TILES = 8  # in a row
_TILE = 176  # pixels, with the margin
_MARGIN, _LINE = 8, 22  # pixels
_TEXT, _WORD = 17, 14  # heights of letters, pixels; the scale's are those of words
_SMALLEST = 8
EVERY_WORD = "every word"  # the label of an attention that does not move
_MOVES = 1e-6  # A smaller change of a weight from word to word is rounding.
HEAT = 0.6  # the share of the colour in a tile
# Dark to bright, as matplotlib's "inferno" at these five places.
_COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)])


class PicturedCaption(NamedTuple):
    """One image with its caption and attention.

    Attributes:
        pixels: [H, W, 3] uint8.
        text: The caption as people write it.
        words: T words.
        attention: [T, grid height, grid width] float32; None: there is none.
    """

    pixels: np.ndarray
    text: str
    words: Sequence[str]
    attention: np.ndarray | None


def looks(words: Sequence[str], attention: np.ndarray | None) -> list[tuple[str, np.ndarray]]:
    """Return what to show of a caption's attention.

    Args:
        words: T words.
        attention: [T, grid height, grid width] float32; None: there is none.

    Returns:
        A label and [grid height, grid width] for each word. When several words look at the same
        places, one pair stands for all of them. Nothing without an attention.
    """
    if attention is None:
        return []
    if len(words) > 1 and np.ptp(attention, 0).max() < _MOVES:
        return [(EVERY_WORD, attention[0])]
    return list(zip(words, attention, strict=True))


def brightness(weights: np.ndarray, highest: float) -> np.ndarray:
    """Return how bright places are shown: 0 at an even share or below, 1 at the highest weight.

    Weights between them are scaled by their logarithm, so that small differences of an attention
    that hardly looks are seen, and the weaker words beside one that looks at a single place.

    Args:
        weights: [..., grid height, grid width] float32, whose sum is 1 over the grid.
        highest: The highest weight of the caption.

    Returns:
        float32 of the same shape.
    """
    places = weights.shape[-2] * weights.shape[-1]
    times = math.log(max(highest * places, 1 + _MOVES))  # 1: all alike
    return np.clip(np.log(np.maximum(weights * places, 1e-9)) / times, 0, 1).astype(np.float32)


def scale(attention: np.ndarray) -> str:
    """Return what the brightness of a caption's tiles means.

    Args:
        attention: [T, grid height, grid width] float32, T at least 1.
    """
    places, highest = attention[0].size, float(attention.max())
    return (
        f"Dark: {1 / places:.1%} of the attention, an even share, or less. Bright: {highest:.1%},"
        f" the most in this caption, {highest * places:.1f} times as much. The scale is"
        " logarithmic."
    )


def coloured(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return heat as colours, dark to bright: [height, width, 3], 0 to 255.

    Args:
        heat: [grid height, grid width] float32, 0 to 1, from `brightness`.
        size: (width, height) of the result, pixels; heat is enlarged smoothly.
    """
    large = Image.fromarray(heat).resize(size, Image.Resampling.BICUBIC)
    places = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(np.asarray(large), places, channel) for channel in _COLOURS.T], -1)


def draw(path: str, captions: Sequence[PicturedCaption]) -> None:
    """Write what `render` draws as a PNG.

    Args:
        path: The file.
        captions: What to draw.

    Raises:
        OSError: The file cannot be written.
    """
    render(captions).save(path, "PNG")


def render(captions: Sequence[PicturedCaption]) -> Image.Image:
    """Draw for each image its caption, the image itself, then a tile for each word.

    Bright is where the word looked, as `brightness` says; the scale stands below the tiles. An
    attention that does not move gets one tile, and a caption without attention none.

    Args:
        captions: What to draw.

    Returns:
        The picture.
    """
    everything = "".join(_letters(caption) for caption in captions)
    font = fonts.covering(everything)
    blocks = [_block(caption, font or fonts.covering(_letters(caption))) for caption in captions]
    page = Image.new("RGB", (TILES * _TILE, sum(block.height for block in blocks)), "white")
    top = 0
    for block in blocks:
        page.paste(block, (0, top))
        top += block.height
    return page


def _letters(caption: PicturedCaption) -> str:
    return "".join([caption.text, *(label for label, _ in looks(caption.words, caption.attention))])


def _block(caption: PicturedCaption, font: FontFile | None) -> Image.Image:
    image = _fitted(Image.fromarray(caption.pixels))
    row = image.height + _LINE + _MARGIN
    tiles, legend = [("", image)], []
    if shown := looks(caption.words, caption.attention):
        assert caption.attention is not None  # there are looks
        highest = float(caption.attention.max())
        tiles += [(label, _heated(image, brightness(x, highest))) for label, x in shown]
        legend = _wrapped(scale(caption.attention), _WORD)
    rows = -(-len(tiles) // TILES)
    lines = _wrapped(caption.text, _TEXT, font)
    head = len(lines) * _LINE + _MARGIN
    foot = head + rows * row
    block = Image.new("RGB", (TILES * _TILE, foot + len(legend) * _LINE), "white")
    pen = ImageDraw.Draw(block)
    leftwards = fonts.is_right_to_left(caption.text)
    for number, line in enumerate(lines):
        top = number * _LINE + _MARGIN // 2
        _write_line(pen, top, line, _TEXT, font, at_right=leftwards)
    for number, line in enumerate(legend):
        _write_line(pen, foot + number * _LINE, line, _WORD, None, at_right=leftwards)
    for place, (word, tile) in enumerate(tiles):
        column = place % TILES
        left = (TILES - 1 - column if leftwards else column) * _TILE + _MARGIN
        top = head + place // TILES * row
        _write_word(pen, (left + tile.width // 2, top + _LINE // 2), word, font)
        block.paste(tile, (left, top + _LINE))
    return block


def _fitted(image: Image.Image) -> Image.Image:
    """Return an image of any shape as large as its tile: its shorter side has a pixel at least."""
    inside, longer = _TILE - _MARGIN, max(image.size)
    width, height = (max(1, round(side / longer * inside)) for side in image.size)
    return image.resize((width, height))


def _write_line(
    pen: ImageDraw.ImageDraw,
    top: float,
    line: str,
    size: int,
    font: FontFile | None,
    *,
    at_right: bool,
) -> None:
    """Draw one line of text from the left margin on, or up to the right one."""
    spans = fonts.spans(line, size, font)
    left = TILES * _TILE - _MARGIN - fonts.width(spans) if at_right else float(_MARGIN)
    for span in spans:
        pen.text((left, top + fonts.ascent(size)), span.text, "black", span.font, anchor="ls")
        left += fonts.width([span])


def _write_word(
    pen: ImageDraw.ImageDraw, middle: tuple[float, float], word: str, font: FontFile | None
) -> None:
    """Draw a word around a point, smaller where it would reach into the next tile."""
    size = _WORD
    spans = fonts.spans(word, size, font)
    while fonts.width(spans) > _TILE and size > _SMALLEST:
        size -= 1
        spans = fonts.spans(word, size, font)
    if len(spans) == 1:
        pen.text(middle, spans[0].text, "black", spans[0].font, anchor="mm")
        return
    left = middle[0] - fonts.width(spans) / 2
    for span in spans:
        pen.text((left, middle[1]), span.text, "black", span.font, anchor="lm")
        left += fonts.width([span])


def _wrapped(text: str, size: int = _TEXT, font: FontFile | None = None) -> list[str]:
    """Return the lines of a text, broken between words, or in a word that is too long."""

    def fits(line: str) -> bool:
        return fonts.width(fonts.spans(line, size, font)) <= TILES * _TILE - 2 * _MARGIN

    text = " ".join(text.splitlines())
    if fits(text):
        return [text]
    lines = [""]
    for word in text.split(" "):
        if fits(longer := f"{lines[-1]} {word}".strip()):
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for char in word:
            if not fits(lines[-1] + char):
                lines.append("")
            lines[-1] += char
    return lines


def _heated(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """Return the image in grey with heat [grid height, grid width] from 0 to 1 over it."""
    gray = np.asarray(image.convert("L"), np.float32)[..., None]
    mixed = (1 - HEAT) * gray + HEAT * coloured(heat, image.size)
    return Image.fromarray(mixed.astype(np.uint8))
