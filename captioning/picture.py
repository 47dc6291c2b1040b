"""A caption with the heat of each word, drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

TILES = 8  # in a row
_TILE = 176  # pixels, with the margin
_MARGIN, _LINE = 8, 22
_HEAT = 0.6  # the share of the colour in a tile
# Dark to bright, as matplotlib's "inferno" at these five places.
_COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)])


class Look(NamedTuple):
    """One image, its caption, and where each word looked."""

    pixels: np.ndarray  # [H, W, 3] uint8
    caption: str
    words: Sequence[str]  # T
    attention: np.ndarray  # [T, grid height, grid width]


def draw(path: str, looks: Sequence[Look]) -> None:
    """Write `render` as a PNG.

    Raises:
        OSError: it cannot be written.
    """
    render(looks).save(path, "PNG")


def render(looks: Sequence[Look]) -> Image.Image:
    """For each image its caption, the image itself, then a tile for each word.

    Bright is where the word looked; each tile is scaled to its own highest weight.
    """
    blocks = [_block(look) for look in looks]
    page = Image.new("RGB", (TILES * _TILE, sum(block.height for block in blocks)), "white")
    top = 0
    for block in blocks:
        page.paste(block, (0, top))
        top += block.height
    return page


def _block(look: Look) -> Image.Image:
    image = ImageOps.contain(Image.fromarray(look.pixels), (_TILE - _MARGIN, _TILE - _MARGIN))
    row = image.height + _LINE + _MARGIN
    rows = -(-(1 + len(look.words)) // TILES)
    block = Image.new("RGB", (TILES * _TILE, _LINE + _MARGIN + rows * row), "white")
    pen = ImageDraw.Draw(block)
    pen.text((_MARGIN, _MARGIN // 2), look.caption, "black", ImageFont.load_default(17))
    tiles = [("", image)]
    tiles += [(w, _heated(image, a)) for w, a in zip(look.words, look.attention, strict=False)]
    for place, (word, tile) in enumerate(tiles):
        left = place % TILES * _TILE + _MARGIN
        top = _LINE + _MARGIN + place // TILES * row
        middle = left + tile.width // 2, top + _LINE // 2
        pen.text(middle, word, "black", ImageFont.load_default(14), anchor="mm")
        block.paste(tile, (left, top + _LINE))
    return block


def _heated(image: Image.Image, heat: np.ndarray) -> Image.Image:
    heat = Image.fromarray((heat / max(heat.max(), 1e-9)).astype(np.float32))
    heat = np.clip(np.asarray(heat.resize(image.size, Image.Resampling.BICUBIC)), 0, 1)
    places = np.linspace(0, 1, len(_COLOURS))
    colour = np.stack([np.interp(heat, places, channel) for channel in _COLOURS.T], -1)
    gray = np.asarray(image.convert("L"), np.float32)[..., None]
    return Image.fromarray(((1 - _HEAT) * gray + _HEAT * colour).astype(np.uint8))
