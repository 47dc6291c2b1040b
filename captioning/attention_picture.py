"""A picture of captions: each image with the attention of each word.

A caption that reads from right to left stands at the right, and so do its first words.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from captioning import fonts
from captioning.fonts import FontFile

TILES = 8  # in a row
_TILE = 176  # pixels, with the margin
_MARGIN, _LINE = 8, 22  # pixels
_TEXT, _WORD = 17, 14  # heights of letters, pixels
_SMALLEST = 8
EVERY_WORD = "every word"  # the label of an attention that does not move
_MOVES = 1e-6  # A smaller change of a weight from word to word is rounding.
_HEAT = 0.6  # the share of the colour in a tile
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

    Bright is where the word looked; each tile is scaled to its own highest weight. An attention
    that does not move gets one tile, and a caption without attention none.

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
    tiles = [("", image)]
    tiles += [
        (label, _heated(image, heat)) for label, heat in looks(caption.words, caption.attention)
    ]
    rows = -(-len(tiles) // TILES)
    lines = _wrapped(caption.text, font)
    head = len(lines) * _LINE + _MARGIN
    block = Image.new("RGB", (TILES * _TILE, head + rows * row), "white")
    pen = ImageDraw.Draw(block)
    leftwards = fonts.is_right_to_left(caption.text)
    for number, line in enumerate(lines):
        _write_line(pen, number * _LINE + _MARGIN // 2, line, font, at_right=leftwards)
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
    pen: ImageDraw.ImageDraw, top: float, line: str, font: FontFile | None, *, at_right: bool
) -> None:
    """Draw one line of a caption from the left margin on, or up to the right one."""
    spans = fonts.spans(line, _TEXT, font)
    left = TILES * _TILE - _MARGIN - fonts.width(spans) if at_right else float(_MARGIN)
    for span in spans:
        pen.text((left, top + fonts.ascent(_TEXT)), span.text, "black", span.font, anchor="ls")
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


def _wrapped(text: str, font: FontFile | None = None) -> list[str]:
    """Return the lines of a caption, broken between words, or in a word that is too long."""

    def fits(line: str) -> bool:
        return fonts.width(fonts.spans(line, _TEXT, font)) <= TILES * _TILE - 2 * _MARGIN

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
    small = Image.fromarray((heat / max(heat.max(), 1e-9)).astype(np.float32))
    large = np.clip(np.asarray(small.resize(image.size, Image.Resampling.BICUBIC)), 0, 1)
    places = np.linspace(0, 1, len(_COLOURS))
    colour = np.stack([np.interp(large, places, channel) for channel in _COLOURS.T], -1)
    gray = np.asarray(image.convert("L"), np.float32)[..., None]
    return Image.fromarray(((1 - _HEAT) * gray + _HEAT * colour).astype(np.uint8))
