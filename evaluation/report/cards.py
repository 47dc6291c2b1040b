"""A card of the report: an image, its caption and references, and where each word looked."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

from captioning import image_file
from captioning.attention_picture import HEAT, brightness, coloured, looks, scale
from captioning.fonts import is_right_to_left
from cli.errors import UserError
from evaluation.attention import AttendedCaption
from evaluation.report.text import directed, file_label
from metrics.names import BLEU_4, CIDER, HEADINGS, METEOR

_PICTURE_SIDE, _TILE_SIDE = 320, 96  # Longer side, pixels.
_OTHER_CAPTION = (
    "No attention is shown: captioning the image again gave other words"
    " (by rounding, or with other hardware or weights than before)."
)
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


def card(
    caption: str,
    references: Sequence[str],
    scores: Mapping[str, float],
    attended: AttendedCaption | None,
) -> str:
    """Return the card of one image as HTML.

    Args:
        caption: The caption that was scored.
        references: The captions that people wrote.
        scores: Metric -> the caption's score.
        attended: The picture and where each word looked. Without it the card shows neither. When
            its text is another one, the card says so and shows no attention. A run without an
            attention has only the picture.

    Returns:
        An `article` element.
    """
    picture = _picture(attended) if attended else None
    score_line = " · ".join(
        f"{HEADINGS[name]} {100 * scores[name]:.0f}"
        for name in (CIDER, BLEU_4, METEOR)
        if name in scores
    )
    name = file_label(attended.file_name) if attended else ""
    image = ""
    if picture:
        image = f'<img src="{_jpeg_uri(picture, _PICTURE_SIDE)}" alt="the picture {escape(name)}">'
    words = ""
    if attended and attended.attention is not None:
        other = f'<p class="soft">{_OTHER_CAPTION}</p>'
        words = _words(attended, picture) if attended.text == caption else other
    return (
        f'<article class="card"><div class="top">{image}<div class="text">'
        f"{directed('p', caption or '(nothing)', 'caption')}"
        f'<p class="soft">{score_line}<br>{directed("bdi", name)}</p>'
        f"<ul>{''.join(directed('li', text) for text in references)}</ul></div></div>"
        f"{words}</article>"
    )


def _words(attended: AttendedCaption, picture: Image.Image | None) -> str:
    """Return a tile for each word, or one for all: heat over the picture in grey."""
    variables = f"--shape:{picture.width / picture.height:.3f}" if picture else "--shape:1"
    if picture:  # A CSS variable: the page holds the picture once for all tiles.
        variables += f";--photo:url({_jpeg_uri(picture.convert('L'), _TILE_SIDE)})"
    shown = looks(attended.words, attended.attention)
    if not shown or attended.attention is None:
        return ""
    highest = float(attended.attention.max())
    tiles = [
        f'<figure><span class="tile">'
        f'<img src="{_heat_uri(brightness(attention, highest))}"'
        f' alt="“{escape(label)}” looked at the {_region(attention)}"></span>'
        f"{directed('figcaption', label)}</figure>"
        for label, attention in shown
    ]
    direction = "rtl" if is_right_to_left(attended.text) else "ltr"
    return (
        f'<div class="words" dir="{direction}" style="{variables}">{"".join(tiles)}</div>'
        f'<p class="soft scale">{scale(attended.attention)}</p>'
    )


def _region(attention: np.ndarray) -> str:
    """Return where attention [rows, columns] peaks in words, such as "top left"."""
    row, column = np.unravel_index(attention.argmax(), attention.shape)
    vertical = _ROWS[3 * row // attention.shape[0]]
    horizontal = _COLUMNS[3 * column // attention.shape[1]]
    return (
        "centre" if (vertical, horizontal) == ("middle", "centre") else f"{vertical} {horizontal}"
    )


def _heat_uri(heat: np.ndarray) -> str:
    """Return a PNG of heat [rows, columns] from 0 to 1, for the picture to show through."""
    # We enlarge it smoothly here, because browsers treat the rim of a tiny picture differently.
    height, width = (4 * side for side in heat.shape)
    pixels = np.full((height, width, 4), round(255 * HEAT), np.uint8)
    pixels[..., :3] = coloured(heat, (width, height))
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG")
    return _data_uri("png", file)


def _picture(attended: AttendedCaption) -> Image.Image | None:
    """Return the picture, upright and small, or None where the bytes hold none."""
    try:
        return image_file.picture(attended.encoded, attended.orientation, _PICTURE_SIDE)
    except UserError:
        return None


def _jpeg_uri(picture: Image.Image, side: int) -> str:
    smaller = picture.copy()
    smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    smaller.save(file, "JPEG", quality=80)
    return _data_uri("jpeg", file)


def _data_uri(kind: str, file: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
