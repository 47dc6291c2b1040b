"""One picture in every kind of file: each orientation, mode, depth and format, and what it shows.

What each file shows is computed from the picture and not from the file, so that a wrong reading is
caught even where all readers agree on it.
"""

import io
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

WIDTH, HEIGHT = 96, 64
_ORIENTATION = 0x0112
# Orientation -> how a camera that was held so stores an upright picture.
_STORED = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: np.rot90(pixels, 2),
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, 1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, -1),
}


class Kind(NamedTuple):
    """A file and what it shows."""

    data: bytes
    shows: np.ndarray  # uint8 RGB [height, width, 3], upright


def picture() -> np.ndarray:
    """Return a smooth picture without symmetry, with black and white in it: uint8 RGB."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    pixels = np.stack([255 * x, 255 * y, 128 + 90 * np.sin(3 * x + 5 * y)], -1)
    pixels[4:24, 6:26] = (255, 255, 255)
    pixels[40:58, 60:88] = (0, 0, 0)
    pixels[8:30, 66:90] = (220, 30, 40)
    return np.round(pixels).astype(np.uint8)


def grey() -> np.ndarray:
    """Return the picture in grey, uint8 [height, width]."""
    return np.asarray(Image.fromarray(picture()).convert("L"))


def alpha() -> np.ndarray:
    """Return how opaque the picture is, uint8 [height, width]: a slope, and a hole in it."""
    slope = np.linspace(60, 255, WIDTH)[None].repeat(HEIGHT, 0)
    slope[30:50, 10:40] = 0
    return np.round(slope).astype(np.uint8)


def saved(image: Image.Image, kind: str, **save) -> bytes:
    """Return an image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **save)
    return file.getvalue()


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Return grey as RGB."""
    return np.repeat(pixels[..., None], 3, -1)


def on_white(pixels: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Return a picture [..., 3] as it looks on white paper."""
    share = opacity[..., None] / 255
    return np.round(pixels * share + 255 * (1 - share)).astype(np.uint8)


def turned(orientation: int, kind: str = "JPEG", pixels: np.ndarray | None = None, **save) -> bytes:
    """Return a file of a picture that was taken with the camera held so."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    stored = _STORED[orientation](picture() if pixels is None else pixels)
    return saved(
        Image.fromarray(np.ascontiguousarray(stored)),
        kind,
        exif=exif.tobytes() if kind == "HEIF" else exif,
        **save,
    )


def png(width: int, height: int, depth: int, colour: int, raw: bytes, *chunks) -> bytes:
    """Return a PNG of samples as they are, rows with their filter byte; more chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    content = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in content
    )


def _jpegs() -> dict[str, Kind]:
    shows, fine = picture(), {"quality": 95, "subsampling": 0}
    image = Image.fromarray(shows)
    kinds = {f"turned{n}.jpg": Kind(turned(n, **fine), shows) for n in _STORED}
    kinds["grey.jpg"] = Kind(saved(image.convert("L"), "JPEG", quality=95), as_rgb(grey()))
    kinds["progressive.jpg"] = Kind(saved(image, "JPEG", progressive=True, **fine), shows)
    kinds["rgb.jpg"] = Kind(saved(image, "JPEG", quality=95, keep_rgb=True), shows)
    # Pillow writes inks inverted and with Adobe's marker.
    inks = saved(image.convert("CMYK"), "JPEG", quality=98)
    kinds["cmyk.jpg"] = Kind(inks, shows)
    marker = inks.index(b"\xff\xee\0\x0eAdobe")
    ink_image = Image.fromarray(255 - np.asarray(image.convert("CMYK")), "CMYK")
    unmarked = saved(ink_image, "JPEG", quality=98)  # so that the inks are not inverted
    kinds["cmyk-without-adobe.jpg"] = Kind(unmarked[:marker] + unmarked[marker + 16 :], shows)
    adobe = np.asarray(Image.merge("CMYK", _ycck(shows)))
    file = bytearray(saved(Image.fromarray(255 - adobe, "CMYK"), "JPEG", quality=98))
    file[marker + 15] = 2  # Adobe's transform: YCCK
    kinds["ycck.jpg"] = Kind(bytes(file), shows)
    large = np.asarray(image.resize((4000, 3000), Image.Resampling.BICUBIC))
    kinds["12-megapixels.jpg"] = Kind(turned(6, pixels=large, quality=90), shows)
    whole = turned(6, **fine)
    kinds["damaged-exif.jpg"] = Kind(
        whole.replace(b"MM\0*\0\0\0\x08", b"MM\0*\0\0\xff\xf0"), _STORED[6](shows)
    )
    exif = Image.Exif()
    exif[_ORIENTATION] = 9
    kinds["orientation9.jpg"] = Kind(saved(image, "JPEG", exif=exif, **fine), shows)
    return kinds


def _ycck(shows: np.ndarray) -> tuple[Image.Image, ...]:
    """Return Y, Cb, Cr and K as a YCCK file of Adobe's stores them: here without black ink."""
    y, cb, cr = Image.fromarray(255 - shows).convert("YCbCr").split()
    return y, cb, cr, Image.new("L", y.size, 255)


def _pngs() -> dict[str, Kind]:
    shows, dark, image = picture(), grey(), Image.fromarray(picture())
    palette = image.quantize(64)
    of_palette = np.asarray(palette.convert("RGB"))
    clear = np.where(np.asarray(palette) == 3, 0, 255).astype(np.uint8)
    two_bits = (dark // 64).astype(np.uint8)
    deep = (shows.astype(">u2") * 257).tobytes()
    row = WIDTH * 6
    deep_rows = b"".join(b"\0" + deep[n * row : (n + 1) * row] for n in range(HEIGHT))
    rows = b"".join(b"\0" + line.tobytes() for line in shows)
    red = (shows == (220, 30, 40)).all(-1)
    key = struct.pack(">HHH", 220, 30, 40)
    deep_key = struct.pack(">HHH", 220 * 257, 30 * 257, 40 * 257)
    without_red = on_white(shows, np.where(red, 0, 255))
    frames = [Image.fromarray(np.roll(shows, 9 * n, 0)) for n in range(4)]
    rgba = Image.fromarray(np.dstack([shows, alpha()]), "RGBA")
    la = Image.fromarray(np.dstack([dark, alpha()]), "LA")
    sixteen = Image.fromarray(dark.astype(np.uint16) * 257)
    return {
        "rgb.png": Kind(saved(image, "PNG"), shows),
        "grey.png": Kind(saved(image.convert("L"), "PNG"), as_rgb(dark)),
        "palette.png": Kind(saved(palette, "PNG"), of_palette),
        "palette-clear.png": Kind(
            saved(palette, "PNG", transparency=3), on_white(of_palette, clear)
        ),
        "rgba.png": Kind(saved(rgba, "PNG"), on_white(shows, alpha())),
        "grey-alpha.png": Kind(saved(la, "PNG"), on_white(as_rgb(dark), alpha())),
        "colour-key.png": Kind(png(WIDTH, HEIGHT, 8, 2, rows, (b"tRNS", key)), without_red),
        "1-bit.png": Kind(
            saved(Image.fromarray(dark > 127), "PNG"), as_rgb((dark > 127) * np.uint8(255))
        ),
        "2-bit.png": Kind(
            png(WIDTH, HEIGHT, 2, 0, b"".join(b"\0" + _packed(line) for line in two_bits)),
            as_rgb(two_bits * np.uint8(85)),
        ),
        "16-bit.png": Kind(saved(sixteen, "PNG"), as_rgb(dark)),
        "16-bit-rgb.png": Kind(png(WIDTH, HEIGHT, 16, 2, deep_rows), shows),
        "16-bit-key.png": Kind(
            png(WIDTH, HEIGHT, 16, 2, deep_rows, (b"tRNS", deep_key)), without_red
        ),
        "turned.png": Kind(turned(6, "PNG"), shows),
        "animated.png": Kind(
            saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), shows
        ),
    }


def _packed(line: np.ndarray) -> bytes:
    """Pack samples of two bits, four to a byte."""
    fours = line.reshape(-1, 4)
    return bytes((fours << (6, 4, 2, 0)).sum(1).astype(np.uint8))


def _others() -> dict[str, Kind]:
    shows, dark, image = picture(), grey(), Image.fromarray(picture())
    rgba = Image.fromarray(np.dstack([shows, alpha()]), "RGBA")
    clear = on_white(shows, alpha())
    palette = image.quantize(64)
    of_palette = np.asarray(palette.convert("RGB"))
    hole = np.where(np.asarray(palette) == 3, 0, 255).astype(np.uint8)
    frames = [Image.fromarray(np.roll(shows, 9 * n, 0)) for n in range(4)]
    of_gif = [frame.quantize(64) for frame in frames]
    more = {"save_all": True, "append_images": frames[1:]}
    black_white = as_rgb((dark > 127) * np.uint8(255))
    five = (shows >> 3).astype("<u2")
    fifteen = five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]
    return {
        "lossy.webp": Kind(saved(image, "WEBP", quality=95), shows),
        "lossless.webp": Kind(saved(image, "WEBP", lossless=True), shows),
        "rgba.webp": Kind(saved(rgba, "WEBP", lossless=True, exact=True), clear),
        "lossy-rgba.webp": Kind(saved(rgba, "WEBP", quality=95), clear),
        "animated.webp": Kind(saved(frames[0], "WEBP", lossless=True, **more), shows),
        "turned.webp": Kind(turned(8, "WEBP", lossless=True), shows),
        "palette.gif": Kind(saved(palette, "GIF"), of_palette),
        "clear.gif": Kind(saved(palette, "GIF", transparency=3), on_white(of_palette, hole)),
        "animated.gif": Kind(
            saved(of_gif[0], "GIF", save_all=True, append_images=of_gif[1:]),
            np.asarray(of_gif[0].convert("RGB")),
        ),
        "rgb.bmp": Kind(saved(image, "BMP"), shows),
        "palette.bmp": Kind(saved(palette, "BMP"), of_palette),
        "grey.bmp": Kind(saved(image.convert("L"), "BMP"), as_rgb(dark)),
        "1-bit.bmp": Kind(saved(Image.fromarray(dark > 127), "BMP"), black_white),
        "16-bit.bmp": Kind(_bmp(16, fifteen), (shows >> 3) * np.uint8(8) + (shows >> 5)),
        # The fourth byte of a pixel means nothing, unless a later header says that it is opacity.
        "32-bit.bmp": Kind(saved(rgba, "BMP"), shows),
        "alpha.bmp": Kind(_bmp(32, np.asarray(rgba)[..., [2, 1, 0, 3]]), clear),
        "phone.heic": Kind(saved(image, "HEIF", quality=90, chroma=444), shows),
        "turned.heic": Kind(turned(6, "HEIF", quality=90, chroma=444), shows),
        "photo.avif": Kind(saved(image, "AVIF", quality=95, subsampling="4:4:4"), shows),
        "turned.avif": Kind(turned(8, "AVIF", quality=95, subsampling="4:4:4"), shows),
        "rgba.avif": Kind(saved(rgba, "AVIF", quality=95, subsampling="4:4:4"), clear),
    }


def _bmp(bits: int, values: np.ndarray) -> bytes:
    """Return a BMP: 16 bits without a mask, or 32 bits with masks of four channels."""
    raw, masked = values[::-1].tobytes(), bits == 32
    size = 108 if masked else 40
    info = struct.pack("<IiiHHI", size, WIDTH, HEIGHT, 1, bits, 3 if masked else 0)
    info += struct.pack("<IiiII", len(raw), 2835, 2835, 0, 0)
    if masked:
        masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        info += (masks + b"BGRs").ljust(size - 40, b"\0")
    start = 14 + size
    return b"BM" + struct.pack("<IHHI", start + len(raw), 0, 0, start) + info + raw


def _tiffs() -> dict[str, Kind]:
    shows, dark, image = picture(), grey(), Image.fromarray(picture())
    rgba = Image.fromarray(np.dstack([shows, alpha()]), "RGBA")
    palette = image.quantize(64)
    large = dark.astype(np.int32) << 16
    modes: dict[str, tuple[Image.Image, np.ndarray]] = {
        "rgb": (image, shows),
        "palette": (palette, np.asarray(palette.convert("RGB"))),
        "1-bit": (Image.fromarray(dark > 127), as_rgb((dark > 127) * np.uint8(255))),
        "16-bit": (Image.fromarray(dark.astype(np.uint16) * 257), as_rgb(dark)),
        "32-bit": (Image.fromarray(large), as_rgb(dark)),
        "float": (Image.fromarray(dark.astype(np.float32) / 255), as_rgb(dark)),
        "float-of-255": (Image.fromarray(dark.astype(np.float32)), as_rgb(dark)),
        "rgba": (rgba, on_white(shows, alpha())),
        "cmyk": (image.convert("CMYK"), shows),
        "lab": (image.convert("LAB"), shows),
    }
    kinds = {f"{name}.tif": Kind(saved(made, "TIFF"), sees) for name, (made, sees) in modes.items()}
    for compression in ("tiff_lzw", "jpeg"):
        kinds[f"{compression}.tif"] = Kind(saved(image, "TIFF", compression=compression), shows)
    kinds["turned.tif"] = Kind(turned(5, "TIFF"), shows)
    return kinds


def all_kinds() -> dict[str, Kind]:
    """Return file name -> a file of every kind."""
    makers: tuple[Callable[[], dict[str, Kind]], ...] = (_jpegs, _pngs, _others, _tiffs)
    return {name: kind for maker in makers for name, kind in maker().items()}
