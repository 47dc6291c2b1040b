"""Files that are made to harm, or of no format that is read: refused at once, before any pixel."""

import io
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from pixels import formats, limits, pillow, standard
from pixels.formats import BadImageError
from tests.support.commands import ROOT
from tests.support.image_kinds import picture, png, saved
from tests.support.records import jpeg

SECONDS = 0.5  # The slowest refusal takes a tenth of it.


def refused(data: bytes, **how) -> BadImageError:
    """Return the error of a file that must be refused, soon and in one line."""
    started = time.process_time()
    with pytest.raises(BadImageError) as caught:
        standard.read(data, **how)
    assert time.process_time() - started < SECONDS
    assert "\n" not in str(caught.value)
    return caught.value


def patched(data: bytes, mark: bytes, after: int, value: bytes) -> bytes:
    """Return data with other bytes at some distance after the first `mark`."""
    start = data.index(mark) + after
    return data[:start] + value + data[start + len(value) :]


@pytest.fixture(scope="module")
def frames() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (60, 300, 400), dtype=np.uint8)
    return [Image.fromarray(frame) for frame in noise]


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",  # Pillow runs Ghostscript on it
        b"8BPS\0\1" + b"\0" * 90,
        b"\0\0\1\0" + b"\0" * 60,  # an icon
        b"P6 10 10 255\n" + b"\0" * 300,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.4",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 90,
        saved(Image.fromarray(picture()), "JPEG2000"),
        saved(Image.fromarray(picture()), "TGA"),
    ],
)
def test_other_formats_are_never_opened(data, monkeypatch):
    monkeypatch.setattr(pillow.Image, "open", None)
    assert refused(data).reason == "unknown_format"


def test_every_plugin_but_one_is_shut_out(monkeypatch):
    """A file that begins like a BMP is opened as a BMP only."""
    opened = []
    monkeypatch.setattr(pillow.Image, "open", lambda _, formats: opened.append(formats) or 1 / 0)
    assert refused(b"BM" + b"\0" * 99).reason == "corrupt"
    assert opened == [["BMP"]]


def test_too_many_pixels_are_seen_in_the_header():
    small = Image.fromarray(picture())
    huge = struct.pack("<II", 60_000, 60_000)
    bombs = {
        "PNG": saved(Image.new("1", (10_000, 10_000)), "PNG"),
        "plain PNG": png(10_000, 10_000, 8, 0, b"\0" * 9_000),
        "BMP": patched(saved(small, "BMP"), b"BM", 18, huge),
        "GIF": patched(saved(small, "GIF"), b"GIF", 6, b"\xff" * 4),
        "GIF frame": patched(saved(small, "GIF"), b"\x2c" + b"\0" * 4, 5, b"\xff" * 4),
        "WebP": patched(
            saved(small, "WEBP", save_all=True, append_images=[small.rotate(180)]),
            b"VP8X",
            12,
            (16_000).to_bytes(3, "little") * 2,
        ),
        "TIFF": saved(Image.new("1", (20_000, 20_000)), "TIFF", compression="group4"),
        "HEIC": patched(saved(small, "HEIF"), b"ispe", 8, struct.pack(">II", 60_000, 60_000)),
    }
    for name, data in bombs.items():
        error = refused(data)
        assert error.reason == "too_large", name
        assert "expected at most 50 million" in str(error), name
        assert len(data) < 20_000
    avif = patched(saved(small, "AVIF"), b"ispe", 8, struct.pack(">II", 60_000, 60_000))
    assert refused(avif).reason == "corrupt"  # as its decoder says


def test_lines_of_pixels_are_images():
    rows = b"".join(b"\0" + b"\x80" for _ in range(60_000))
    for data in (
        png(1, 60_000, 8, 0, rows),
        png(60_000, 1, 8, 0, b"\0" + b"\x80" * 60_000),
        saved(Image.new("RGB", (1, 60_000)), "BMP"),
        saved(Image.new("RGB", (60_000, 1)), "JPEG"),
    ):
        standard.read(data, decode=True)
        # Resized by the shorter side they would have four billion pixels.
        assert refused(data, shorter_side=256).reason == "too_large"


def test_an_animation_costs_its_first_frame(frames):
    more = {"save_all": True, "append_images": frames[1:]}
    rgb = [frame.convert("RGB") for frame in frames[:12]]
    animations = [
        saved(frames[0], "GIF", **more),
        saved(rgb[0], "WEBP", save_all=True, append_images=rgb[1:], lossless=True, method=0),
        saved(frames[0].quantize(16), "PNG", **more),
    ]
    for data in animations:
        started = time.process_time()
        image = standard.read(data, decode=True)
        assert time.process_time() - started < SECONDS
        with Image.open(io.BytesIO(image.encoded)) as first:
            assert first.size == (400, 300) and getattr(first, "n_frames", 1) == 1


def test_chunks_that_swell():
    """Text and colour profiles of 300 MB in 300 KB, and a million chunks."""
    swollen = zlib.compress(b"\0" * 300_000_000, 9)
    palette = (b"PLTE", b"\1\2\3")
    for kind in (b"iCCP", b"zTXt"):
        data = png(1, 1, 8, 3, b"\0\0", (kind, b"x\0\0" + swollen), palette)
        assert refused(data).reason == "corrupt"
    data = png(1, 1, 8, 0, b"\0\0", *[(b"abCd", b"")] * 60_000)
    assert "more than 50,000 chunks" in str(refused(data))


@pytest.mark.parametrize(
    "entries",
    [
        struct.pack("<HHII", 0x111, 4, 0xFFFFFFFF, 8),  # four billion strips
        struct.pack("<HHII", 0x9999, 4, 1, 8) * 10_000,
        b"".join(struct.pack("<HHII", tag, 4, 1, 50) for tag in (256, 257))
        + struct.pack("<HHII", 273, 4, 0x3FFFFFFF, 8),
    ],
)
def test_absurd_tags_of_a_tiff(entries):
    count = struct.pack("<H", len(entries) // 12)
    data = b"II*\0\x08\0\0\0" + count + entries + struct.pack("<I", 8)  # the next list is itself
    assert refused(data + b"\0" * 500).reason == "corrupt"


def test_a_jpeg_of_very_many_passes():
    data = jpeg(1, (40, 32), progressive=True)
    scan = data.index(b"\xff\xda")
    end = data.index(b"\xff", scan + 14)
    passes = data[:scan] + data[scan:end] * (limits.MAX_JPEG_PASSES + 1) + data[scan:]
    assert "progressive passes" in str(refused(passes))


def test_cut_files_and_values_that_are_no_numbers():
    small = Image.fromarray(picture())
    for kind in ("WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"):
        data = saved(small, kind)
        for share in (0.3, 0.6, 0.9):
            assert refused(data[: int(share * len(data))]).reason in ("truncated", "corrupt"), kind
    for mode in ("RGB", "P"):
        data = saved(small.convert(mode), "PNG")
        for end in (4, 20, 60, len(data) // 2, len(data) - 13):
            assert refused(data[:end]).reason == "truncated", end
        damaged = patched(data, b"IDAT", 30, b"\0\1\2")
        assert refused(damaged).reason == "corrupt"
    for value in (np.nan, np.inf):
        values = np.array([[0, 1], [value, 0.5]], np.float32)
        assert "no numbers" in str(refused(saved(Image.fromarray(values), "TIFF")))


def test_heic_without_its_plugin_names_the_extra(monkeypatch):
    data = saved(Image.fromarray(picture()), "HEIF")
    monkeypatch.setattr(pillow, "reads_heic", lambda: False)
    error = refused(data)
    assert error.reason == "heif_not_installed" and "pip install .[heif]" in str(error)


def test_nothing_of_pillow_reaches_the_user(tmp_path):
    """Damaged EXIF, odd TIFFs and large images make Pillow warn."""
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = saved(Image.fromarray(picture()), "JPEG", exif=exif)
    damaged = whole.replace(b"MM\0*\0\0\0\x08", b"MM\0*\0\0\xff\xf0")
    assert damaged != whole
    (tmp_path / "0").write_bytes(damaged)
    (tmp_path / "1").write_bytes(saved(Image.new("1", (10_000, 9_500)), "GIF"))
    tiff = saved(Image.fromarray(picture()), "TIFF")
    (tmp_path / "2").write_bytes(patched(tiff, struct.pack("<HHI", 277, 3, 1), 8, b"\x09"))
    program = (
        "import pathlib, sys; from pixels import formats, standard\n"
        "for path in sys.argv[1:]:\n"
        "    try: print(standard.read(pathlib.Path(path).read_bytes()).orientation)\n"
        "    except formats.BadImageError as error: print(error.reason)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", program, *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["1", "too_large", "corrupt"]


def test_the_formats_of_the_documents_are_those_that_are_read():
    for document in ("README.md", "docs/operations.md"):
        text = (ROOT / document).read_text()
        assert all(kind in text for kind in formats.Format), document
