"""Pictures show captions in any script, in its order, with the fonts that the machine has."""

import base64
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from captioning import attention_picture, fonts
from captioning.attention_picture import TILES, PicturedCaption
from captioning.fonts import FontFile

# A font of 728 bytes, made with fontTools. U+4E00 is a bar, U+72D7 a square, alef a tall narrow
# bar, bet a low wide one; a missing character is a small square.
_FONT = zlib.decompress(
    base64.b85decode(
        "c-n<hF-ROi6n%eY?{X1LJX8!<tsrP|5b!)nA*8WTkO=1$hXmv5m|WrM;aM06VsS-4glmN>Bx$utWsx*iTPBsQffQ"
        "E=X%Yx>u)dkygJ6)nWoG~TZ|3j&GYbLGhXZK%i%U-@=SRNe0GVKRb-fnUKhBK}ke`q*yxDyF`g42m19_Kxzq%2aw"
        "eBoKoN`Q8nRu|Je=`2TF;=bZ?q&a|3fI3Uf3mr~9-x6`@@w)(wP3G~4ASHoa(^qRZQ%H22&i}DGxhDpE`1T|-0HA"
        "iIVxvshp!&b{D$Zb?!o}NseMKoD#?k>MQzR<>P9zRrN5DOnKZmaQUBD{Dv}mbT=8FITsu8HC#?IO%X>HYu`|ijTP"
        "Gg9IPqdnVTiN1w})r$)-u!-{M5G>*tv`%TPgK5j-&54Q=imP{!XX;d~z5^0oId9OY*8BzifRe7KWu2N<Iwji5XeZ"
        "O}VhjU~zQVXkS*0aY}N+R0`SAEEVl{uM!1ePbp-LaYC{Kq07g$>^CetOeYSdce}1*%h;{=kZ;>#9NWk%mrzD2{x9"
        "ywEoOsYeE"
    )
)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return the folder of all fonts of a machine that has no fontconfig."""
    folder = tmp_path / "fonts"
    folder.mkdir()
    monkeypatch.setattr(fonts, "_FOLDERS", (str(folder),))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(fonts, "_known", [FontFile("")])
    monkeypatch.setattr(fonts, "_absent", set())
    monkeypatch.setattr(fonts, "_reported", set())
    fonts._files.cache_clear()
    yield folder
    fonts._files.cache_clear()


@pytest.fixture
def tiny(machine):
    """Install the font of 728 bytes beside a damaged one."""
    (machine / "a sans.ttf").write_bytes(b"no font")
    path = machine / "deep" / "Tiny-Regular.ttf"
    path.parent.mkdir()
    path.write_bytes(_FONT)
    return path


def ink(text: str, size: int = 40) -> np.ndarray:
    """Return where a text is black, cut to its bounds: bool [height, width]."""
    image = Image.new("L", (20 * size, 2 * size), "white")
    left = 5.0
    for span in fonts.spans(text, size):
        ImageDraw.Draw(image).text((left, size), span.text, "black", span.font, anchor="ls")
        left += fonts.width([span])
    black = np.asarray(image) < 128
    rows, columns = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
    return black[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def pictured(text: str, words: list[str]) -> PicturedCaption:
    green = np.zeros((40, 60, 3), np.uint8) + np.array([0, 255, 0], np.uint8)
    heats = np.ones((len(words), 2, 2), np.float32) * np.arange(1, 1 + len(words))[:, None, None]
    return PicturedCaption(green, text, words, heats)


def green_columns(picture: Image.Image) -> list[int]:
    """Return in which columns of tiles the image itself is; words have grey tiles."""
    pixels = np.asarray(picture).astype(int)
    green = (pixels == (0, 255, 0)).all(-1).any(0)
    return sorted({x * TILES // len(green) for x in np.flatnonzero(green)})


def assert_same(a: Image.Image, b: Image.Image) -> None:
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_ascii_is_drawn_by_pillows_own_font_and_nothing_is_looked_up(machine, monkeypatch):
    monkeypatch.setattr(fonts, "_candidates", lambda missing: pytest.fail("looked up"))
    text = 'a dog\'s "ball" - 50% red!'
    picture = attention_picture.render([pictured(text, ["a", "dog"])])
    line = Image.new("RGB", (picture.width, 22), "white")
    pen = ImageDraw.Draw(line)
    pen.text((8, 4), text, "black", ImageFont.load_default(17))
    assert_same(picture.crop((0, 0, picture.width, 22)), line)
    tile = Image.new("RGB", (168, 22), "white")
    pen = ImageDraw.Draw(tile)
    pen.text((84, 11), "dog", "black", ImageFont.load_default(14), anchor="mm")
    assert_same(picture.crop((2 * 176 + 8, 30, 3 * 176, 52)), tile)
    assert green_columns(picture) == [0]


def test_other_scripts_are_drawn_by_a_font_of_the_machine(tiny, capsys):
    (span,) = fonts.spans("一狗", 20)
    assert span.font.path == str(tiny)
    bar, square = ink("一"), ink("狗")
    assert bar.shape == (4, 32) and square.shape == (32, 32)
    picture = attention_picture.render([pictured("一狗一狗", ["一狗", "一狗"])])
    assert picture.height == attention_picture.render([pictured("a dog", ["a", "dog"])]).height
    assert (np.asarray(picture)[4:22, 8:100] < 128).any()
    assert capsys.readouterr() == ("", "")


def test_fontconfig_chooses_where_it_is_installed(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "_FOLDERS", ())
    (tmp_path / "bin").mkdir()
    match = tmp_path / "bin" / "fc-match"
    # Of a variable font the index names a style, too, in its upper bits.
    match.write_text(f"#!/bin/sh\necho $3 > {tmp_path}/asked\nprintf '{tiny}\\t65536\\n'\n")
    match.chmod(0o755)
    (span,) = fonts.spans("狗", 20)
    assert span.font.path == str(tiny)
    assert (tmp_path / "asked").read_text() == "sans-serif:charset=72d7\n"
    match.write_text("#!/bin/sh\nexit 1\n")
    assert fonts.spans("א", 20)[0].font.path == str(tiny)  # known by then


def test_a_text_of_two_scripts_takes_two_fonts(tiny):
    first, second = fonts.spans("a dog 狗一", 20)
    assert (first.text, second.text) == ("a dog ", "狗一")
    assert second.font.path == str(tiny)
    assert fonts.width([first, second]) == fonts.width([first]) + 40
    right, left = fonts.spans("狗 אב dog", 20), fonts.spans("אב 狗 dog", 20)
    assert [span.text for span in right] == ["狗 אב ", "dog"]
    assert [span.text for span in left] == ["dog", "אב 狗 "]


@pytest.mark.parametrize("knows", [True, False])
def test_right_to_left_text_is_in_order(tiny, monkeypatch, capsys, knows):
    if knows and not fonts._knows_directions():
        pytest.skip("Pillow found no FriBiDi")
    if not knows:
        monkeypatch.setattr(fonts, "_knows_directions", lambda: False)
        basic = ImageFont.truetype
        monkeypatch.setattr(
            ImageFont, "truetype", lambda *args: basic(*args, layout_engine=ImageFont.Layout.BASIC)
        )
    fonts._load.cache_clear()
    heights = ink("אב").sum(0)  # a tall alef, then a low wide bet
    fonts._load.cache_clear()
    assert heights[-1] > 3 * heights[0] > 0
    assert capsys.readouterr().err.count("\n") == (not knows)
    fonts.spans("ב", 20)
    assert capsys.readouterr().err == ""  # said once


def test_without_fribidi_words_and_letters_are_put_in_order(tiny, monkeypatch, capsys):
    monkeypatch.setattr(fonts, "_knows_directions", lambda: False)
    assert fonts._ordered("אב 12 ab בא") == "אב ab 12 בא"
    assert fonts._ordered("ab אב 12") == "ab בא 12"
    assert fonts._ordered("ab 12") == "ab 12"
    fonts.spans("אב", 20)
    assert "libfribidi0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "leftwards"),
    [
        ("אב", True),
        ("3 אב dog", True),
        ("dog אב", False),
        ("狗", False),
        ("12!", False),
        ("", False),
    ],
)
def test_the_first_letter_says_where_a_text_starts(text, leftwards):
    assert fonts.is_right_to_left(text) == leftwards


def test_words_of_a_right_to_left_caption_start_at_the_right(tiny):
    words = ["א", "ב", *["אב"] * 7]
    picture = attention_picture.render([pictured(" ".join(words), words)])
    assert green_columns(picture) == [TILES - 1]
    black = np.asarray(picture.convert("L")) < 128
    line = np.flatnonzero(black[:22].any(0))
    assert picture.width - 20 < line[-1] < picture.width - 8 < picture.width
    heads = black[30:52]  # above the tiles
    alef, bet = (heads[:, c * 176 : (c + 1) * 176] for c in (TILES - 2, TILES - 3))
    assert 0 < alef.any(0).sum() < 4 < alef.any(1).sum()
    assert 0 < bet.any(1).sum() < 5 < bet.any(0).sum()
    tiles = (np.asarray(picture.convert("L"))[-50:-30] < 255).any(0)  # the last two words
    assert tiles[6 * 176 + 8 :].any() and not tiles[: 6 * 176].any()


def test_without_a_font_a_line_says_what_to_install_and_the_picture_is_drawn(machine, capsys):
    caption = pictured("一只狗在草地上", list("一只狗在草地上"))
    picture = attention_picture.render([caption, caption])
    assert (np.asarray(picture)[4:22] < 128).any()
    (line,) = capsys.readouterr().err.splitlines()
    assert "fonts-noto-cjk" in line and "CJK UNIFIED IDEOGRAPH-4E00" in line
    for text, package in (("हिन्दी", "fonts-noto-core"), ("😀", "fonts-symbola"), ("สุ", None)):
        attention_picture.render([pictured(text, [text])])
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == (package is not None)
        assert all(f"such as the package {package}" in line for line in lines)


def test_a_long_caption_takes_more_lines_and_loses_no_word(machine):
    words = [f"word{number}" for number in range(120)]
    lines = attention_picture._wrapped(" ".join(words))
    assert len(lines) > 3
    assert " ".join(lines).split() == words
    long_word = attention_picture._wrapped("so " + "x" * 500)
    assert "".join(long_word) == "so" + "x" * 500
    for line in [*lines, *long_word]:
        assert fonts.width(fonts.spans(line, 17)) <= TILES * 176 - 16
    short = attention_picture.render([pictured("a", ["a"])])
    picture = attention_picture.render([pictured(" ".join(words), ["a"])])
    assert picture.height == short.height + (len(lines) - 1) * 22
    assert attention_picture._wrapped("a\ndog\u2028runs") == ["a dog runs"]


def test_a_word_wider_than_its_tile_is_drawn_smaller(machine):
    picture = attention_picture.render([pictured("a", ["W" * 16])])
    columns = np.flatnonzero((np.asarray(picture.convert("L"))[30:52] < 128).any(0))
    assert 150 < columns[-1] - columns[0] <= 176


def test_a_picture_takes_one_font_where_one_has_all(tiny, monkeypatch):
    drawn, load = [], fonts._load
    monkeypatch.setattr(fonts, "_load", lambda *args: drawn.append(args) or load(*args))
    letters = {"": "abc", str(tiny): "abcä"}
    monkeypatch.setattr(fonts, "_has", lambda file, char: char in letters.get(file.path, ""))
    attention_picture.render([pictured("ab c", ["ab", "c"])])
    assert {file.path for file, _ in drawn} == {""}
    drawn.clear()
    attention_picture.render([pictured("ab bä", ["ab", "bä"]), pictured("c", ["c"])])
    of_captions = [file.path for file, size in drawn if size == 17]  # words and scales are smaller
    assert str(tiny) in of_captions and of_captions.count("") == 2  # the baselines of two lines


@pytest.mark.parametrize("shape", [(10, 4000), (4000, 10), (1, 448), (448, 1), (1, 1)])
def test_an_image_of_any_shape_is_drawn(machine, shape):
    caption = pictured("a", ["a"])._replace(pixels=np.zeros((*shape, 3), np.uint8))
    picture = attention_picture.render([caption])
    height, width = (max(1, round(168 * side / max(shape))) for side in shape)
    tile = np.asarray(picture)[30 + 22 : 30 + 22 + height, 8 : 8 + width]
    assert tile.shape == (height, width, 3) and not tile.any()
    assert picture.height == 30 + 22 + height + 8 + 22  # the last line is the scale's
