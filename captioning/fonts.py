"""Text in any script for pictures: fonts of this machine, and the order of right-to-left text.

Pillow's own font has ASCII only, and draws it. For other characters the fonts of the system are
looked through: fontconfig chooses them where it is installed, else those of the usual folders are
tried. A character without a font is drawn as a box, and a line on stderr says what to install.
"""

import functools
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont, features
from PIL.ImageFont import FreeTypeFont

_FOLDERS = (
    *("~/.local/share/fonts", "~/.fonts", "/usr/local/share/fonts", "/usr/share/fonts"),
    *("~/Library/Fonts", "/Library/Fonts", "/System/Library/Fonts"),
    *("${LOCALAPPDATA}/Microsoft/Windows/Fonts", "${WINDIR}/Fonts"),
)
_MOST_FILES = 2000  # More font files than these are not tried.
_CJK = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH"}
_UNASSIGNED = "\U0010ffff"  # Every font draws its sign for a missing character.


class FontFile(NamedTuple):
    """One font: its file and which of the faces there it is. "" is Pillow's own font."""

    path: str
    face: int = 0


class Span(NamedTuple):
    """Characters in a row that one font draws."""

    text: str
    font: FreeTypeFont


_OWN = FontFile("")
_known: list[FontFile] = [_OWN]  # Fonts that were of use, the first preferred.
_absent: set[str] = set()  # Characters that no font of this machine has.
_reported: set[str] = set()  # Packages that were named already.


def is_right_to_left(text: str) -> bool:
    """Return whether a text starts at the right: so its first letter says."""
    for char in text:
        if (direction := unicodedata.bidirectional(char)) in ("L", "R", "AL"):
            return direction != "L"
    return False


def covering(text: str) -> FontFile | None:
    """Return a font that has every character of a text; None where a font alone has not."""
    wanted = {char for char in text if _needs_glyph(char)}
    _look_up(wanted)
    return next((file for file in _known if wanted <= _absent | _drawn_by(file, wanted)), None)


def spans(text: str, size: float, font: FontFile | None = None) -> list[Span]:
    """Split a text by the fonts that draw it.

    Args:
        text: One line.
        size: Height of the letters in pixels.
        font: What `covering` returned for a longer text, so that all of that has one font.

    Returns:
        The spans in the order in which the text is drawn, from left to right. One font for all of
        the text is preferred.
    """
    if file := font or covering(text):
        return [Span(_ordered(text), _load(file, size))]
    parts: list[tuple[str, FontFile]] = []
    for char in text:
        file = parts[-1][1] if parts else _OWN
        if _needs_glyph(char) and char not in _drawn_by(file, {char}):
            file = next((f for f in _known if _drawn_by(f, {char})), file)
        if parts and parts[-1][1] == file:
            char = parts.pop()[0] + char
        parts.append((char, file))
    if is_right_to_left(text):
        parts.reverse()
    return [Span(_ordered(part), _load(file, size)) for part, file in parts]


def width(line: Iterable[Span]) -> float:
    """Return how many pixels wide the spans are together."""
    return sum(span.font.getlength(span.text) for span in line)


def ascent(size: float) -> int:
    """Return how far the letters of a line of this size reach up from its baseline, in pixels."""
    return _load(_OWN, size).getmetrics()[0]


def _ordered(text: str) -> str:
    """Return text as Pillow draws it in order: as it is where its layout knows right from left."""
    if _knows_directions() or not any(map(is_right_to_left, text)):
        return text
    # Letters stay unjoined, but they and the words stand in their order.
    words = [word[::-1] if is_right_to_left(word) else word for word in text.split(" ")]
    return " ".join(reversed(words) if is_right_to_left(text) else words)


def _look_up(wanted: set[str]) -> None:
    """Add fonts for characters that no known font has; name a package where there is none."""
    missing = {c for c in wanted - _absent if not any(_drawn_by(f, {c}) for f in _known)}
    if any(unicodedata.bidirectional(char) in ("R", "AL") for char in wanted):
        _report_unordered()
    if not missing:
        return
    for file in _candidates(missing):
        if drawn := _drawn_by(file, missing):
            _known.append(file)
            missing -= drawn
        if not missing:
            return
    _absent.update(missing)
    for char in sorted(missing):
        _report(
            _package(char),
            f'no font on this machine has "{char}" ({_name(char)}): pictures show a box instead;'
            f" install a font that has it, such as the package {_package(char)}",
        )


def _candidates(missing: set[str]) -> Iterator[FontFile]:
    """Yield fonts of the system that may have these characters, the preferred first."""
    codes = " ".join(f"{ord(char):x}" for char in sorted(missing))
    command = ["fc-match", "--sort", "--format=%{file}\t%{index}\n", f"sans-serif:charset={codes}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        yield from map(FontFile, _files())
        return
    for line in os.fsdecode(done.stdout).splitlines():
        path, _, index = line.partition("\t")
        # The upper bits name a style of a variable font.
        yield FontFile(path, int(index) & 0xFFFF if index.isdecimal() else 0)


@functools.cache
def _files() -> list[str]:
    """Return the font files of the usual folders, upright sans-serif ones first."""
    files: list[str] = []
    for folder in map(os.path.expandvars, map(os.path.expanduser, _FOLDERS)):
        for parent, _, names in os.walk(folder):
            fonts = (name for name in names if name.lower().endswith((".ttf", ".otf", ".ttc")))
            files += (os.path.join(parent, name) for name in sorted(fonts))

    def unusual(path: str) -> tuple[bool, bool]:
        name = Path(path).stem.lower()
        styled = any(style in name for style in ("bold", "italic", "oblique", "light", "mono"))
        return styled, "sans" not in name

    return sorted(files, key=unusual)[:_MOST_FILES]


def _drawn_by(file: FontFile, wanted: set[str]) -> set[str]:
    """Return those of the characters that a font has."""
    return {char for char in wanted if _has(file, char)}


@functools.lru_cache(65536)
def _has(file: FontFile, char: str) -> bool:
    if file == _OWN and not char.isascii():
        return False  # It has a few, which would stand out among those of another font.
    try:
        font = _load(file, 20)
        masks = [font.getmask(text) for text in (char, _UNASSIGNED)]
    except (OSError, ValueError):  # Damaged, or of pictures in one size.
        return False
    drawn, missing = ((mask.size, bytes(mask)) for mask in masks)
    return drawn != missing


@functools.lru_cache(256)
def _load(file: FontFile, size: float) -> FreeTypeFont:
    if file == _OWN:
        font = ImageFont.load_default(size)
        assert isinstance(font, FreeTypeFont)  # Pillow without FreeType is none of its wheels.
        return font
    return ImageFont.truetype(file.path, size, file.face)


def _needs_glyph(char: str) -> bool:
    """Return whether a character shows by itself: no space, mark, joiner or control."""
    return unicodedata.category(char)[0] not in "ZMC"


def _package(char: str) -> str:
    """Return the Debian package of a font that has a character."""
    if unicodedata.category(char)[0] == "S":
        return "fonts-symbola"
    return "fonts-noto-cjk" if _name(char).split()[0] in _CJK else "fonts-noto-core"


def _name(char: str) -> str:
    return unicodedata.name(char, f"U+{ord(char):04X}")


@functools.cache
def _knows_directions() -> bool:
    return bool(features.check("raqm"))


def _report_unordered() -> None:
    if not _knows_directions():
        _report(
            "libfribidi0",
            "right-to-left text is drawn with unjoined letters: Pillow found no FriBiDi; install"
            " it, such as the package libfribidi0",
        )


def _report(package: str, line: str) -> None:
    """Print a line on stderr, once for each package."""
    if package not in _reported:
        _reported.add(package)
        print(line, file=sys.stderr, flush=True)
