"""Draw a scene as a JPEG. With one version of Pillow the same scene gives the same bytes."""

import io
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from scenes.world import SHAPES, SIDE, Scene, Thing

INKS = {
    "red": (222, 38, 38),
    "green": (38, 158, 62),
    "blue": (40, 84, 224),
    "yellow": (250, 208, 24),
    "purple": (150, 52, 190),
    "black": (28, 28, 32),
}

_FINER = 4  # Drawn this many times larger, then reduced: smooth edges.
_GREYS = (178, 228)  # The background's brightness, from and to.
_SLOPE = 24  # Its largest change in brightness across the image.
_GRAIN = 7  # Noise of -7 .. 7 on every pixel.
_QUALITY = 92


def jpeg(scene: Scene) -> bytes:
    """Return the image of a scene: a baseline RGB JPEG of SIDE x SIDE pixels."""
    rng = Random(f"drawing {scene.image_id}")
    sheet = Image.new("RGBA", (SIDE * _FINER, SIDE * _FINER))
    pen = ImageDraw.Draw(sheet)
    for thing in scene.things:
        _draw(pen, thing)
    # Reduced with its alpha, so that the edges mix with the background.
    things = sheet.convert("RGBa").reduce(_FINER).convert("RGBA")
    image = Image.fromarray(_background(rng)).convert("RGB")
    image.paste(things, mask=things.getchannel("A"))
    grained = np.asarray(image, np.int16) + _grain(rng)
    out = io.BytesIO()
    # Colour at full resolution: at half of it a small thing's colour bleeds into the background.
    Image.fromarray(grained.clip(0, 255).astype(np.uint8)).save(
        out, "JPEG", quality=_QUALITY, subsampling=0
    )
    return out.getvalue()


def _background(rng: Random) -> np.ndarray:
    """Return grey uint8 [SIDE, SIDE]: an even slope of brightness that differs between images."""
    least, most = _GREYS
    middle = least + rng.random() * (most - least)
    across, down = ((2 * rng.random() - 1) * _SLOPE / 2 for _ in range(2))
    steps = (np.arange(SIDE) - SIDE / 2) / SIDE
    return (middle + across * steps[None, :] + down * steps[:, None]).round().astype(np.uint8)


def _grain(rng: Random) -> np.ndarray:
    """Return noise, int16 [SIDE, SIDE, 1] in -_GRAIN .. _GRAIN, from Python's fixed stream."""
    noise = np.frombuffer(rng.randbytes(SIDE * SIDE), np.uint8).astype(np.int16)
    return (noise % (2 * _GRAIN + 1) - _GRAIN).reshape(SIDE, SIDE, 1)


def _draw(pen: ImageDraw.ImageDraw, thing: Thing) -> None:
    """Draw the thing in its box on the finer sheet."""
    x0, y0, x1, y1 = (edge * _FINER for edge in thing.box)
    x1, y1 = x1 - 1, y1 - 1  # Pillow includes the last pixel.
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
        raise ValueError(f"cannot draw a {thing.shape}: expected one of {', '.join(SHAPES)}")
