"""A card of the report: a picture, its caption and references, and where each word looked."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

from evaluation.attention import AttendedCaption
from metrics.names import BLEU_4, CIDER, HEADINGS, METEOR
from records.limits import MAX_IMAGE_PIXELS

_PHOTO, _THUMB = 320, 96  # longer side, pixels
_OTHER = (
    "No attention: captioned again, it said other words"
    " (rounding, or other hardware or weights than before)."
)
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


def card(
    caption: str,
    references: Sequence[str],
    scores: Mapping[str, float],
    look: AttendedCaption | None,
) -> str:
    """The HTML of one image; without a look there is neither picture nor attention.

    A look at other words is not this caption's, and is said to be so.
    """
    photo = _photo(look.encoded) if look else None
    said = " · ".join(
        f"{HEADINGS[name]} {100 * scores[name]:.0f}"
        for name in (CIDER, BLEU_4, METEOR)
        if name in scores
    )
    name = escape(look.file_name) if look else ""
    picture = f'<img src="{_jpeg(photo, _PHOTO)}" alt="the picture {name}">' if photo else ""
    heat = ""
    if look:
        heat = _heat(look, photo) if look.text == caption else f'<p class="soft">{_OTHER}</p>'
    return (
        f'<article class="card"><div class="top">{picture}<div class="text">'
        f'<p class="caption">{escape(caption) or "(nothing)"}</p>'
        f'<p class="soft">{said}<br>{name}</p>'
        f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in references)}</ul></div></div>"
        f"{heat}</article>"
    )


def _heat(look: AttendedCaption, photo: Image.Image | None) -> str:
    """A tile for each word: the picture, dark where the word did not look."""
    variables = f"--shape:{photo.width / photo.height:.3f}" if photo else "--shape:1"
    if photo:
        variables += f";--photo:url({_jpeg(photo, _THUMB)})"  # once in the page, for all tiles
    tiles = [
        f'<figure><span class="tile">'
        f'<img src="{_shade(heat)}" alt="“{escape(word)}” looked at the {_region(heat)}"></span>'
        f"<figcaption>{escape(word)}</figcaption></figure>"
        for word, heat in zip(look.words, look.attention, strict=True)
    ]
    return f'<div class="words" style="{variables}">{"".join(tiles)}</div>'


def _region(heat: np.ndarray) -> str:
    """Where the peak is, in words: "top left"."""
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    vertical, horizontal = _ROWS[3 * row // heat.shape[0]], _COLUMNS[3 * column // heat.shape[1]]
    return (
        "centre" if (vertical, horizontal) == ("middle", "centre") else f"{vertical} {horizontal}"
    )


def _shade(heat: np.ndarray) -> str:
    """A PNG of a pixel a location: black, clear at the peak and dense where attention is none."""
    pixels = np.zeros((*heat.shape, 4), np.uint8)
    pixels[..., 3] = np.round(210 * (1 - heat / max(float(heat.max()), 1e-9)))
    file = io.BytesIO()
    # Enlarged smoothly here: browsers differ in how they treat the rim of a tiny picture.
    side = [4 * n for n in heat.shape[::-1]]
    Image.fromarray(pixels, "RGBA").resize(side, Image.Resampling.BICUBIC).save(file, "PNG")
    return _data_uri("png", file)


def _photo(encoded: bytes) -> Image.Image | None:
    """The picture at no more than `_PHOTO`, or None where there is none to be decoded."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                return None
            image.draft("RGB", (2 * _PHOTO, 2 * _PHOTO))  # JPEG decodes to a fraction at once
            picture = image.convert("RGB")
    except Exception:  # Pillow's plugins raise many kinds for a damaged file
        return None
    picture.thumbnail((_PHOTO, _PHOTO), Image.Resampling.LANCZOS)
    return picture


def _jpeg(photo: Image.Image, side: int) -> str:
    smaller = photo.copy()
    smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    smaller.save(file, "JPEG", quality=80)
    return _data_uri("jpeg", file)


def _data_uri(kind: str, file: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
