"""A picture of captions: each image with the attention of each word."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

TILES = 8  # in a row
_TILE = 176  # pixels, with the margin
_MARGIN, _LINE = 8, 22  # pixels
_HEAT = 0.6  # the share of the colour in a tile
# Dark to bright, as matplotlib's "inferno" at these five places.
_COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)])


class PicturedCaption(NamedTuple):
    """One image with its caption and attention.

    Attributes:
        pixels: [H, W, 3] uint8.
        text: The caption as people write it.
        words: T words.
        attention: [T, grid height, grid width] float32.
    """

    pixels: np.ndarray
    text: str
    words: Sequence[str]
    attention: np.ndarray


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

    Bright is where the word looked; each tile is scaled to its own highest weight.

    Args:
        captions: What to draw.

    Returns:
        The picture.
    """
    blocks = [_block(caption) for caption in captions]
    page = Image.new("RGB", (TILES * _TILE, sum(block.height for block in blocks)), "white")
    top = 0
    for block in blocks:
        page.paste(block, (0, top))
        top += block.height
    return page


def _block(caption: PicturedCaption) -> Image.Image:
    image = ImageOps.contain(Image.fromarray(caption.pixels), (_TILE - _MARGIN, _TILE - _MARGIN))
    row = image.height + _LINE + _MARGIN
    rows = -(-(1 + len(caption.words)) // TILES)
    block = Image.new("RGB", (TILES * _TILE, _LINE + _MARGIN + rows * row), "white")
    pen = ImageDraw.Draw(block)
    pen.text((_MARGIN, _MARGIN // 2), caption.text, "black", ImageFont.load_default(17))
    tiles = [("", image)]
    tiles += [
        (word, _heated(image, heat))
        for word, heat in zip(caption.words, caption.attention, strict=True)
    ]
    for place, (word, tile) in enumerate(tiles):
        left = place % TILES * _TILE + _MARGIN
        top = _LINE + _MARGIN + place // TILES * row
        middle = left + tile.width // 2, top + _LINE // 2
        pen.text(middle, word, "black", ImageFont.load_default(14), anchor="mm")
        block.paste(tile, (left, top + _LINE))
    return block


def _heated(image: Image.Image, heat: np.ndarray) -> Image.Image:
    small = Image.fromarray((heat / max(heat.max(), 1e-9)).astype(np.float32))
    large = np.clip(np.asarray(small.resize(image.size, Image.Resampling.BICUBIC)), 0, 1)
    places = np.linspace(0, 1, len(_COLOURS))
    colour = np.stack([np.interp(large, places, channel) for channel in _COLOURS.T], -1)
    gray = np.asarray(image.convert("L"), np.float32)[..., None]
    return Image.fromarray(((1 - _HEAT) * gray + _HEAT * colour).astype(np.uint8))
