"""The golden images of a bundle: a few drawings, the user's own, and what the run says of them."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from captioning.given_files import GivenFiles
from captioning.named_images import NamedImages
from captioning.replica import BatchSizes, Replica
from captioning.search_options import BeamSearch
from cli.errors import UserError
from pixels import formats, limits
from pixels.formats import BadImageError, Format
from pixels.square import square
from scenes import drawing, world
from serving.bundle.golden import Golden, GoldenCaption
from serving.exporting.reference import CPU, FLOAT32

_MOST = 100  # Images of the user's.
_BATCH = 16
_SEED = 1
_LARGE = (800, 600)  # A drawing of a photograph's size, so that shrinking it is tested too.
_SUFFIXES = {Format.JPEG: ".jpg", Format.TIFF: ".tif"}


class GoldenImage(NamedTuple):
    """A golden image before it is written.

    Attributes:
        file: Its name in the bundle.
        origin: What the user knows it by.
        content: The bytes of the file.
    """

    file: str
    origin: str
    content: bytes


def collect(named: str, size: int) -> list[GoldenImage]:
    """Draw the images of our own, and read those of the user.

    Args:
        named: What --golden names; "" for none.
        size: Side of the square that the encoder takes, pixels.

    Raises:
        UserError: A file is missing or no image, or there are too many.
    """
    contents = [(f"drawing {number}", drawn) for number, drawn in enumerate(_drawings(), 1)]
    if named:
        contents += [(path, _read(path, size)) for path in _paths(named)]
    width = max(2, len(str(len(contents))))
    return [
        GoldenImage(f"{number:0{width}}{_suffix(content)}", origin, content)
        for number, (origin, content) in enumerate(contents, 1)
    ]


def captions(
    run_dir: str, images: list[GoldenImage], folder: str, search: BeamSearch
) -> tuple[Replica, list[Golden]]:
    """Let the run, restored in float32, caption images.

    Args:
        run_dir: The run.
        images: The images.
        folder: Where their files lie.
        search: How to search.

    Returns:
        The replica that captioned, and the images with their captions.

    Raises:
        UserError: The run cannot be used.
    """
    source = GivenFiles([os.path.join(folder, image.file) for image in images], len(images))
    replica = Replica(CPU, [run_dir], source, search, precision=FLOAT32)
    golden: dict[int, Golden] = {}
    sizes = BatchSizes(min(_BATCH, len(images)), min(_BATCH, len(images)))
    with ThreadPoolExecutor(1) as pool:
        for outcome in replica.outcomes(iter(source.parts), sizes, pool):
            image = images[outcome.place]
            if outcome.problem is not None:
                raise UserError(f"--golden: {image.origin}: {outcome.problem}")
            golden[outcome.place] = Golden(
                image.file,
                tuple(GoldenCaption(c.text, c.words, c.score) for c in outcome.captions),
            )
    return replica, [golden[place] for place in range(len(images))]


def _drawings() -> list[bytes]:
    """Draw scenes: two as they are, one as a PNG, and one large and not square."""
    first, second, third, fourth = map(drawing.jpeg, world.scenes(world.MIN_IMAGES, _SEED)[:4])
    png, large = io.BytesIO(), io.BytesIO()
    Image.open(io.BytesIO(third)).save(png, "PNG")
    Image.open(io.BytesIO(fourth)).resize(_LARGE).save(large, "JPEG", quality=90)
    return [first, second, png.getvalue(), large.getvalue()]


def _paths(named: str) -> list[str]:
    """Return the image files that --golden names, each once."""
    found = NamedImages(named, flag="golden")
    paths: set[str] = set()
    for entry in found:
        paths.add(entry.path)
        if len(paths) > _MOST:
            raise UserError(
                f"--golden={named}: more than {_MOST} images; a bundle holds a few that show what"
                " it must say: name some of them"
            )
    for line in [*found.problems, found.remark()]:
        if line:
            print(f"--golden: {line}")
    return sorted(paths)


def _read(path: str, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(limits.MAX_IMAGE_BYTES + 1)
        square(content, size)
    except OSError as error:
        raise UserError(
            f"--golden: {path}: cannot be read: {error.strerror or error}; leave it out or mend it"
        ) from None
    except BadImageError as error:
        raise UserError(f"--golden: {path}: {error}; leave it out or mend it") from None
    return content


def _suffix(content: bytes) -> str:
    kind = formats.sniff(content)
    return _SUFFIXES.get(kind, f".{kind.lower()}")


def write(images: list[GoldenImage], folder: str) -> None:
    """Write the files of golden images.

    Args:
        images: The images.
        folder: Where to write; it is made.
    """
    os.mkdir(folder)
    for image in images:
        Path(folder, image.file).write_bytes(image.content)
