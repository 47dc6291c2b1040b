"""A scene as a JPEG: what is drawn follows from the scene alone, to the byte on one Pillow."""

import io
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from scenes.world import SIDE, Scene, Thing

INKS = {
    "red": (222, 38, 38),
    "green": (38, 158, 62),
    "blue": (40, 84, 224),
    "yellow": (250, 208, 24),
    "purple": (150, 52, 190),
    "black": (28, 28, 32),
}

_FINER = 4  # drawn this many times larger, then reduced: smooth edges
_GREYS = (178, 228)  # the paper's brightness, from and to
_SLOPE = 24  # how much brighter or darker it may grow across the picture
_GRAIN = 7  # noise of -7 .. 7 on every pixel
_QUALITY = 92


def jpeg(scene: Scene) -> bytes:
    """The picture of a scene: a baseline RGB JPEG of SIDE x SIDE pixels."""
    rng = Random(f"drawing {scene.image_id}")
    sheet = Image.new("RGBA", (SIDE * _FINER, SIDE * _FINER))
    pen = ImageDraw.Draw(sheet)
    for thing in scene.things:
        _draw(pen, thing)
    # Reduced with its alpha, so that the edges mix with the paper beneath.
    things = sheet.convert("RGBa").reduce(_FINER).convert("RGBA")
    picture = Image.fromarray(_paper(rng)).convert("RGB")
    picture.paste(things, mask=things.getchannel("A"))
    grained = np.asarray(picture, np.int16) + _grain(rng)
    out = io.BytesIO()
    # Colour at full resolution: at half of it a small thing's colour bleeds into the paper.
    Image.fromarray(grained.clip(0, 255).astype(np.uint8)).save(
        out, "JPEG", quality=_QUALITY, subsampling=0
    )
    return out.getvalue()


def _paper(rng: Random) -> np.ndarray:
    """Grey uint8 [SIDE, SIDE]: an even slope of brightness, another one for each picture."""
    least, most = _GREYS
    middle = least + rng.random() * (most - least)
    across, down = ((2 * rng.random() - 1) * _SLOPE / 2 for _ in range(2))
    steps = (np.arange(SIDE) - SIDE / 2) / SIDE
    return (middle + across * steps[None, :] + down * steps[:, None]).round().astype(np.uint8)


def _grain(rng: Random) -> np.ndarray:
    """int16 [SIDE, SIDE, 1] in -_GRAIN .. _GRAIN, from bytes that Python's own stream fixes."""
    noise = np.frombuffer(rng.randbytes(SIDE * SIDE), np.uint8).astype(np.int16)
    return (noise % (2 * _GRAIN + 1) - _GRAIN).reshape(SIDE, SIDE, 1)


def _draw(pen: ImageDraw.ImageDraw, thing: Thing) -> None:
    """Fill the thing's shape into its box on the finer sheet."""
    x0, y0, x1, y1 = (edge * _FINER for edge in thing.box)
    x1, y1 = x1 - 1, y1 - 1  # Pillow counts the last pixel in
    ink = (*INKS[thing.colour], 255)
    if thing.shape == "circle":
        pen.ellipse((x0, y0, x1, y1), fill=ink)
    elif thing.shape == "square":
        pen.rectangle((x0, y0, x1, y1), fill=ink)
    elif thing.shape == "triangle":
        pen.polygon(((x0, y1), ((x0 + x1) / 2, y0), (x1, y1)), fill=ink)
    elif thing.shape == "cross":
        arm = round((x1 - x0) * 0.34)
        pen.rectangle((x0 + arm, y0, x1 - arm, y1), fill=ink)
        pen.rectangle((x0, y0 + arm, x1, y1 - arm), fill=ink)
    else:
        raise ValueError(f"no drawing for a {thing.shape}")
