"""Decoding with Pillow: the first image of a file, by the plugin of its format and no other."""

import io
import logging
import warnings
from functools import cache

from PIL import (
    Image,
    UnidentifiedImageError,
    _imaging,  # Private API: pillow 12.3.0.
)

from pixels import formats
from pixels.formats import BadImageError, Format
from records.rejections import RejectionReason

# What Pillow finds odd about a file is told by our errors, or does not matter.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
logging.getLogger("PIL").setLevel(logging.CRITICAL)
# Bytes of the pieces in which an image is allocated. The C library gives pieces of more than 32 MiB
# back when they are freed; of Pillow's own 16 MiB it kept 750 MB after four large images.
_imaging.set_block_size(64 << 20)


def load(data: bytes, kind: Format) -> Image.Image:
    """Decode the first image of a file, after a look at its size.

    Args:
        data: The file's content.
        kind: Its format, as `formats.sniff` tells.

    Returns:
        The pixels in the mode of the file. `info["exif"]` holds the EXIF block, if there is one. A
        TIFF is upright already.

    Raises:
        BadImageError: truncated, corrupt, too_large or heif_not_installed.
    """
    name = "HEIF" if kind == Format.HEIC else kind.upper()
    if kind == Format.HEIC and not reads_heic():
        raise BadImageError(
            RejectionReason.HEIF_NOT_INSTALLED,
            "a HEIC image needs the package pillow-heif; install it with `pip install .[heif]`",
        )
    try:
        image = Image.open(io.BytesIO(data), formats=[name])
        formats.check_pixels(kind, *image.size)
        image.load()
    except BadImageError:
        raise
    except UnidentifiedImageError:  # Its message holds an address in memory that always differs.
        raise formats.corrupt(kind, "damaged or of an unusual kind") from None
    except Image.DecompressionBombError:
        raise formats.too_large(kind, "far too many pixels") from None
    except Exception as error:  # Pillow's plugins raise many kinds for a damaged file.
        if "truncated" in str(error):
            raise formats.truncated(kind) from None
        raise formats.corrupt(kind, str(error).strip() or type(error).__name__) from None
    return image


@cache
def reads_heic() -> bool:
    """Tell whether Pillow can read HEIC here."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
