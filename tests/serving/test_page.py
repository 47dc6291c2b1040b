"""The page in a browser: what people do with it, and what it says when something is wrong."""

import base64
import io
import re
import time

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect

from tests.support import browser as browsers
from tests.support.browser import NARROW, WIDE, opened_page, started_browser
from tests.support.image_kinds import HEIGHT, WIDTH, saved, turned
from tests.support.stand_in import CAPTIONS, PAGE, Reply, StandIn, error

pytestmark = [
    pytest.mark.slow,  # needs a browser
    pytest.mark.skipif(browsers.CHROMIUM is None, reason=browsers.SKIPPED),
]
BEST = CAPTIONS[0][0]
PHOTO = turned(1)  # its red patch is at the upper right


@pytest.fixture(scope="module")
def browser():
    with started_browser() as started:
        yield started


@pytest.fixture
def server():
    with StandIn() as started:
        yield started


@pytest.fixture
def page(browser, server):
    with opened_page(browser, server.url) as opened:
        yield opened


def as_file(name: str = "photo.jpg", data: bytes = PHOTO) -> dict:
    return {"name": name, "mimeType": "", "buffer": data}


def choose(page: Page, *files: dict) -> None:
    page.set_input_files("#files", list(files or [as_file()]))


def captioned(page: Page, *files: dict) -> None:
    """Choose pictures, and wait until each has its caption."""
    before = page.locator("[data-state=done]").count()
    choose(page, *files)
    expect(page.locator("[data-state=done]")).to_have_count(before + max(len(files), 1))


def is_heated(page: Page) -> None:
    expect(page.locator(".heat")).to_have_css("opacity", "1")


def is_clear(page: Page) -> None:
    expect(page.locator(".heat")).to_have_css("opacity", "0")


# --- A picture gets its caption ---


def test_a_picture_gets_its_caption(page, server):
    expect(page.locator("#limits")).to_have_text(re.compile("JPEG, PNG.* up to 20 MB each"))
    captioned(page)
    assert server.received[0][1] == PHOTO
    expect(page.locator(".caption")).to_have_text(BEST)
    assert page.locator(".word").all_inner_texts() == BEST.split()
    expect(page.get_by_role("img", name=BEST)).to_be_visible()
    expect(page.locator("#announcer")).to_have_text(f"photo.jpg: {BEST}")
    expect(page.locator("#model")).to_have_text(re.compile(r"Model\s+scenes\s+5eed5eed5eed\s*$"))
    facts = page.locator(".facts").inner_text()
    assert re.search(r"12 ms on the server.* ms in all.* kB.*scenes 5eed5eed5eed", facts, re.S)


def test_other_captions_can_be_chosen(page):
    captioned(page)
    others = page.locator(".others button")
    assert [t.split("\n") for t in others.all_inner_texts()] == [
        [text, f"\u2212{-score:.2f}"] for text, score in CAPTIONS
    ]
    others.nth(2).click()
    expect(page.locator(".caption")).to_have_text(CAPTIONS[2][0])
    expect(page.get_by_role("img", name=CAPTIONS[2][0], exact=True)).to_be_visible()
    assert others.nth(2).get_attribute("aria-pressed") == "true"
    assert others.nth(0).get_attribute("aria-pressed") == "false"
    page.locator(".word").nth(1).hover()
    is_heated(page)


_CARRY = """([type, items]) => {
  const carried = new DataTransfer();
  for (const [name, data] of items) {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    carried.items.add(new File([bytes], name));
  }
  if (!items.length) carried.setData("text/plain", "https://example.org/cat.jpg");
  const init = { bubbles: true, cancelable: true, dataTransfer: carried, clipboardData: carried };
  const Kind = type === "paste" ? ClipboardEvent : DragEvent;
  document.querySelector("footer").dispatchEvent(new Kind(type, init));
}"""


def carry(page: Page, kind: str, *files: tuple[str, bytes]) -> None:
    """Drop or paste files, or, without any, a text."""
    page.evaluate(_CARRY, [kind, [(n, base64.b64encode(d).decode()) for n, d in files]])


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_pictures_are_dropped_and_pasted(page, kind):
    carry(page, kind, ("a.jpg", PHOTO), ("b.jpg", PHOTO))
    expect(page.locator(".caption")).to_have_text([BEST, BEST])
    assert page.locator(".name").all_inner_texts() == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_what_is_no_file_is_named(page, server, kind):
    carry(page, kind)
    expect(page.locator("#notice-text")).to_have_text(re.compile("no file|no picture"))
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator("#notice")).to_be_hidden()
    assert server.received == []


def test_the_page_shows_where_to_drop(page):
    carry(page, "dragenter", ("a.jpg", PHOTO))
    expect(page.locator("#dropping")).to_be_visible()
    carry(page, "dragleave", ("a.jpg", PHOTO))
    expect(page.locator("#dropping")).to_be_hidden()


def test_a_phone_offers_its_camera(browser, server):
    with opened_page(browser, server.url, viewport=NARROW, has_touch=True, is_mobile=True) as page:
        expect(page.get_by_role("button", name="Take a photograph")).to_be_visible()
        camera = page.locator("#camera")
        assert camera.get_attribute("capture") == "environment"
        camera.set_input_files([as_file("image.jpg")])
        expect(page.locator(".caption")).to_have_text(BEST)


def test_many_pictures_in_order_and_a_few_at_a_time(page, server):
    server.gate.clear()
    names = [f"{n}.jpg" for n in range(8)]
    choose(page, *map(as_file, names))
    expect(page.locator("[data-state=sending]")).to_have_count(3)
    expect(page.locator(".doing").first).to_have_text("Captioning")
    expect(page.locator("progress:visible")).to_have_count(3)
    expect(page.locator(".doing").last).to_have_text("Waiting for its turn")
    expect(page.locator("#announcer")).to_have_text("Captioning 8 pictures.")
    server.gate.set()
    expect(page.locator("[data-state=done]")).to_have_count(8)
    assert page.locator(".name").all_inner_texts() == names
    assert server.most_at_once <= 3
    expect(page.locator("#count")).to_have_text("8 pictures")
    expect(page.locator("#announcer")).to_have_text("8 pictures captioned.")


def test_a_broken_picture_leaves_its_neighbours_alone(page):
    choose(page, as_file("a.jpg"), as_file("cut.jpg", PHOTO[:500]), as_file("c.jpg"))
    expect(page.locator("[data-state=done]")).to_have_count(2)
    failed = page.locator("[data-state=failed]")
    expect(failed.locator(".name")).to_have_text("cut.jpg")
    expect(failed.locator(".what")).to_have_text(re.compile("damaged"))
    expect(page.locator("#announcer")).to_have_text("2 pictures captioned, 1 failed.")


def test_the_caption_is_copied(browser, server):
    permissions = ["clipboard-read", "clipboard-write"]
    with opened_page(browser, server.url, permissions=permissions) as page:
        captioned(page)
        page.get_by_role("button", name="Copy caption").click()
        expect(page.locator(".copy")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == BEST
        # An address without TLS has no such clipboard.
        page.evaluate("delete Navigator.prototype.clipboard")
        page.locator(".others button").nth(1).click()
        page.locator(".copy").click()
        expect(page.locator(".copy")).to_have_text("Copied")


# --- Words and their heat ---


def test_the_keyboard_walks_along_the_words(page):
    captioned(page)
    words = page.locator(".word")
    assert [word.get_attribute("tabindex") for word in words.all()] == ["0"] + ["-1"] * 8
    page.locator("#clear").focus()
    page.keyboard.press("Tab")
    expect(words.first).to_be_focused()
    is_heated(page)
    page.keyboard.press("ArrowRight")
    expect(words.nth(1)).to_be_focused()
    expect(words.nth(1)).to_have_class("word looking")
    expect(page.locator(".looked")).to_have_text("“large” looked at the upper right")
    page.keyboard.press("End")
    expect(words.last).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(words.last).to_be_focused()
    page.keyboard.press("Home")
    expect(words.first).to_be_focused()
    page.keyboard.press("Escape")
    is_clear(page)
    page.keyboard.press("Enter")
    assert words.first.get_attribute("aria-pressed") == "true"
    is_heated(page)
    page.keyboard.press("Space")
    is_clear(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")  # out of the caption
    is_clear(page)
    page.keyboard.press("Shift+Tab")  # back to the word that it was left at
    expect(words.nth(1)).to_be_focused()


def test_the_mouse_shows_a_word_and_leaving_clears_it(page):
    captioned(page)
    word = page.locator(".word").nth(2)
    word.hover()
    is_heated(page)
    page.mouse.move(5, 5)
    is_clear(page)
    word.click()
    page.mouse.move(5, 5)
    is_heated(page)
    page.keyboard.press("Escape")
    is_clear(page)


def test_a_finger_shows_a_word_until_it_taps_elsewhere(browser, server):
    with opened_page(browser, server.url, viewport=NARROW, has_touch=True, is_mobile=True) as page:
        captioned(page)
        page.locator(".word").nth(2).tap()
        is_heated(page)
        page.locator(".word").nth(4).tap()
        expect(page.locator(".looking")).to_have_text("above")
        page.locator(".facts").tap()
        is_clear(page)
        page.locator(".word").nth(4).tap()
        is_heated(page)
        page.locator(".word").nth(4).tap()
        is_clear(page)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_heat_lies_where_the_word_looked(page, orientation):
    captioned(page, as_file(data=turned(orientation)))
    page.locator(".word").nth(1).hover()
    is_heated(page)
    page.wait_for_timeout(300)
    box = page.locator(".picture").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(WIDTH / HEIGHT, rel=0.01)
    shot = Image.open(io.BytesIO(page.locator(".picture").screenshot())).convert("L")
    cells = np.asarray(shot.resize((7, 7), Image.Resampling.BOX), float)
    # The patch's cells; the white patch at the left does not outshine the heat.
    row, column = np.unravel_index(cells.argmax(), cells.shape)
    assert row in (1, 2) and column == 5
    assert cells.max() > 1.5 * np.median(cells)


def test_each_word_says_where_it_looked(page):
    captioned(page)
    described = [word.get_attribute("aria-description") for word in page.locator(".word").all()]
    assert described == ["looked everywhere alike"] + ["looked at the upper right"] * 8
    expect(page.locator(".hint")).to_have_text(re.compile("Point at a word"))


def test_heat_of_a_word_in_numbers(page):
    """A grid of one row, of one cell, and one that is not square fill the canvas rightly."""
    drawn = page.evaluate("""async () => {
      const { draw, place, isGrid, still } = await import("./heat.js");
      const canvas = document.createElement("canvas");
      const brightest = (grid, ratio) => {
        draw(canvas, grid, ratio);
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let best = 0;
        for (let at = 0; at < data.length; at += 4) if (data[at + 1] > data[best + 1]) best = at;
        return [(best / 4) % canvas.width / canvas.width,
          Math.floor(best / 4 / canvas.width) / canvas.height, canvas.width, canvas.height];
      };
      const corner = [[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]];
      return [brightest(corner, 2), brightest([[1, 0, 0]], 0.5), brightest([[1]], 1),
        place(corner), place([[0, 0, 0], [0, 1, 0], [0, 0, 0]]), place([[0, 0]]),
        isGrid([[1, 2], [3]]), isGrid([]), isGrid([[NaN]]), isGrid([[1, 2]]),
        still([[[1, 0]], [[1, 0]]]), still([[[1, 0]], [[0, 1]]])];
    }""")
    corner, row, single, *told = drawn
    assert corner[0] > 0.85 and corner[1] > 0.75 and corner[2:] == [192, 96]
    assert row[0] < 0.2 and row[2:] == [96, 192]
    assert single[2:] == [192, 192]
    assert told == [
        *("at the lower right", "at the middle", "everywhere alike"),
        *(False, False, False, True),
        *(True, False),
    ]


SCRIPTS = {
    "clitics": ("a dog's ball can't roll", ["a", "dog", "'s", "ball", "ca", "n't", "roll"]),
    "chinese": ("一只狗在草地上", list("一只狗在草地上")),
    "tibetan": ("ཁྱི་ཞིག", ["ཁྱི", "ཞིག"]),
    "arabic": ("كلب يجري", ["كلب", "يجري"]),
    "repeated": ("the the then the", ["the", "the", "then", "the"]),
    "other words": ("it is", ["quite", "else"]),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_words_join_as_the_caption_says(page, server, script):
    text, words = SCRIPTS[script]
    server.captions = [(text, -0.5, words)]
    captioned(page)
    assert page.locator(".word").all_text_contents() == words
    whole = " ".join(words) if script == "other words" else text
    assert page.locator(".caption").text_content() == whole
    assert page.locator(".caption").get_attribute("lang") == ""
    assert page.locator(".facts").inner_text().startswith("score \u22120.50")


def test_arrows_follow_the_eye_from_right_to_left(page, server):
    server.captions = [("كلب يجري the red ball", -0.5)]
    captioned(page)
    words = page.locator(".word")
    left = [word.bounding_box()["x"] for word in words.all()]
    # Two words of the other direction stand in their own order.
    assert left[0] > left[1] > left[4] > left[3] > left[2]
    words.first.focus()
    page.keyboard.press("ArrowLeft")
    expect(words.nth(1)).to_be_focused()
    # The page's own sentence about an Arabic word begins with it, at the left.
    expect(page.locator(".looked")).to_have_css("direction", "ltr")
    left = page.locator(".looked").bounding_box()["x"]
    assert page.locator(".looked bdi").bounding_box()["x"] < left + 20


def test_a_model_without_attention_says_so(page, server):
    server.model["attends"] = False
    captioned(page)
    expect(page.locator(".caption")).to_have_text(BEST)
    expect(page.locator(".word")).to_have_count(0)
    expect(page.locator(".hint")).to_have_text("This model does not tell where it looked.")
    expect(page.get_by_role("img", name=BEST)).to_be_visible()


def test_an_attention_that_stands_still_is_said(page, server):
    server.captions = [("cat", -0.5)]
    captioned(page)
    expect(page.locator(".hint")).to_have_text(re.compile("Point at a word"))
    grid = [[1.0, 0.0], [0.0, 0.0]]
    caption = {"text": "a cat", "words": ["a", "cat"], "score": -1, "attention": [grid, grid]}
    server.replies.append(Reply(200, {"model": {}, "images": [{"captions": [caption]}]}))
    captioned(page)
    expect(page.locator(".hint").last).to_have_text(re.compile("same places for every word"))


def test_no_caption_at_all_is_said(page, server):
    server.captions = []
    captioned(page)
    expect(page.locator(".caption")).to_have_text("The model found no caption for this picture.")
    expect(page.locator(".copy")).to_be_hidden()


# --- Errors in words ---

CODES = {
    400: "could not read the request",
    404: "no captions at this address",
    405: "no captions at this address",
    408: "too long to arrive",
    413: "too large",
    415: "no picture in a format",
    422: "damaged",
    504: "took too long",
    500: r"failed \(500\)",
}


@pytest.mark.parametrize("code", CODES)
def test_every_error_is_said_in_words(page, server, code):
    server.replies.append(error(code, "the server's own words"))
    choose(page)
    card = page.locator("[data-state=failed]")
    expect(card.locator(".what")).to_have_text(re.compile(CODES[code]))
    expect(card.locator(".remedy")).not_to_be_empty()
    expect(card.locator(".detail")).to_have_text("the server's own words")
    expect(page.locator("#announcer")).to_have_text(re.compile(CODES[code]))
    if code < 500 and code != 408:
        expect(card.locator(".again")).to_be_hidden()
    else:
        card.get_by_role("button", name="Try again").click()
        expect(page.locator(".caption")).to_have_text(BEST)


NONSENSE = {
    "html": (Reply(200, b"<h1>Wi-Fi</h1>", {"Content-Type": "text/html"}), "makes no sense"),
    "no images": (Reply(200, {"model": {}}), "makes no sense"),
    "null": (Reply(200, None), "makes no sense"),
    "error": (Reply(200, {"images": [{"error": {"code": "x", "message": "cut"}}]}), "damaged"),
    "a proxy": (Reply(403, b"Forbidden", {"Content-Type": "text/plain"}), r"failed \(403\)"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_answers_of_others_are_said_in_words(page, server, name):
    reply, what = NONSENSE[name]
    server.replies.append(reply)
    choose(page)
    expect(page.locator("[data-state=failed] .what")).to_have_text(re.compile(what))


@pytest.mark.parametrize("code", [429, 502, 503])
def test_a_busy_server_is_asked_again(page, server, code):
    server.replies.append(error(code, Retry_After="3"))
    start = time.monotonic()
    choose(page)
    expect(page.locator(".doing")).to_have_text(re.compile(r"Trying again in 3 s \(2 of 4\)"))
    expect(page.locator(".caption")).to_have_text(BEST)
    assert time.monotonic() - start >= 3
    assert len(server.received) == 2


def test_a_server_that_stays_busy_is_left_to_its_user(page, server):
    server.replies.extend([error(429, "64 pictures wait", Retry_After="1")] * 4)
    choose(page)
    expect(page.locator(".what")).to_have_text("The server has too much to do.")
    assert len(server.received) == 4
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".caption")).to_have_text(BEST)


def test_a_server_that_stops_and_comes_back(page, server):
    captioned(page)
    server.stop()
    choose(page, as_file("a.jpg"), as_file("b.jpg"))
    expect(page.locator("#offline")).to_have_text(re.compile("does not answer"))
    expect(page.locator(".doing:visible")).to_have_text(["Waiting for the server"] * 2)
    server.model |= {"name": "better", "max_image_bytes": 5_000_000}
    server.start()
    expect(page.locator("[data-state=done]")).to_have_count(3)
    expect(page.locator("#offline")).to_be_hidden()
    expect(page.locator("#model-name")).to_have_text("better")
    expect(page.locator("#limits")).to_have_text(re.compile("up to 5 MB"))
    expect(page.locator("#announcer")).to_have_text("2 pictures captioned.")


def test_a_connection_that_breaks_again_and_again(page, server):
    server.replies.extend([Reply(cut=True)] * 3)
    choose(page)
    expect(page.locator(".what")).to_have_text("The connection to the server broke.")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".caption")).to_have_text(BEST)


def test_a_file_that_vanished_is_no_fault_of_the_server(page, server, tmp_path):
    file = tmp_path / "photo.jpg"
    file.write_bytes(PHOTO)
    server.gate.clear()
    choose(page, *(as_file(f"{n}.jpg") for n in range(3)))
    page.set_input_files("#files", file)
    expect(page.locator(".doing").last).to_have_text("Waiting for its turn")
    file.unlink()
    server.gate.set()
    expect(page.locator(".what:visible")).to_have_text(re.compile("cannot be read any more"))
    expect(page.locator("[data-state=done]")).to_have_count(3)


def test_what_is_too_large_or_empty_is_not_sent(page, server):
    server.model["max_image_bytes"] = 1000
    page.reload()
    expect(page.locator("#limits")).to_have_text(re.compile("up to 1 kB"))
    choose(page, as_file(data=bytes(1500)), as_file(data=b""))
    expect(page.locator(".what:visible")).to_have_text(
        [re.compile("too large"), re.compile("empty")]
    )
    expect(page.locator(".remedy").first).to_have_text(re.compile("up to 1 kB"))
    expect(page.locator(".detail").first).to_have_text("2 kB; it was not sent.")
    assert server.received == []


def test_a_file_that_only_the_server_can_read(page):
    captioned(page, as_file("scan.tif", turned(6, "TIFF")))
    expect(page.locator(".placeholder")).to_have_text("This browser cannot show this TIF file.")
    expect(page.get_by_role("img", name=BEST)).to_be_visible()
    page.locator(".word").nth(1).hover()
    is_heated(page)


# --- The token ---


def test_the_token_is_asked_for_and_kept_for_the_tab(page, server):
    server.model["token_required"], server.token = True, "s3cret"
    page.reload()
    field = page.get_by_label("This server asks for a token")
    expect(field).to_be_focused()
    choose(page)
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#token-refused")).to_be_visible()
    expect(page.locator(".doing")).to_have_text("Waiting for the token")
    assert page.evaluate("sessionStorage.getItem('captioner-token')") == ""
    field.fill("s3cret")
    page.keyboard.press("Enter")
    expect(page.locator(".caption")).to_have_text(BEST)
    assert server.received[-1][0]["authorization"] == "Bearer s3cret"
    page.reload()
    captioned(page)
    expect(page.locator("#token-form")).to_be_hidden()
    assert page.evaluate("localStorage.length") == 0
    assert "s3cret" not in page.content()


@pytest.mark.parametrize("text", ["ключ", "two words", "   "])
def test_a_token_that_no_header_can_hold(page, server, text):
    server.token = "s3cret"
    choose(page)
    page.get_by_label("This server asks for a token").fill(text)
    page.get_by_role("button", name="Use token").click()
    expect(page.locator("#token-refused")).to_be_visible()
    assert len(server.received) == 1


# --- Strangers, memory, removal ---


def test_strange_names_and_captions_are_only_text(page, server):
    evil = "<img src=x onerror=alert(1)>"
    server.captions = [(f"{evil} dog", -1, [evil, "dog"]), (evil, -2)]
    server.model["name"] = evil
    server.replies.append(error(422, evil))
    choose(page, as_file(f"{evil}.jpg"), as_file(f"{evil}.jpg"))
    expect(page.locator("[data-state=done]")).to_have_count(1)
    # Until then the card above may grow, and the word move away from the mouse.
    expect(page.locator("[data-state=failed]")).to_have_count(1)
    page.locator(".word").first.hover()
    expect(page.locator(".looked").last).to_have_text(re.compile("onerror"))
    expect(page.locator(".detail").first).to_have_text(evil)
    assert page.locator("img[src=x]").count() == 0


_COUNT_URLS = """
  window.urls = 0;
  const { createObjectURL, revokeObjectURL } = URL;
  URL.createObjectURL = (blob) => { window.urls += 1; return createObjectURL.call(URL, blob); };
  URL.revokeObjectURL = (url) => { window.urls -= 1; revokeObjectURL.call(URL, url); };
"""


def test_removed_pictures_are_forgotten(page, server):
    page.add_init_script(_COUNT_URLS)
    page.reload()
    server.gate.clear()
    choose(page, *(as_file(f"{n}.jpg") for n in range(4)))
    expect(page.locator("[data-state=sending]")).to_have_count(3)
    page.get_by_role("button", name="Remove 1.jpg").click()  # while it is sent
    expect(page.get_by_role("button", name="Remove 2.jpg")).to_be_focused()
    server.gate.set()
    expect(page.locator("[data-state=done]")).to_have_count(3)
    assert page.locator(".name").all_inner_texts() == ["0.jpg", "2.jpg", "3.jpg"]
    assert page.evaluate("urls") == 3
    page.get_by_role("button", name="Clear all").click()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.get_by_role("button", name="Choose pictures")).to_be_focused()
    assert page.evaluate("urls") == 0


def test_the_page_holds_a_bounded_number_of_pictures(page, server):
    captioned(page, as_file("first.jpg"))
    server.gate.clear()
    choose(page, *(as_file(f"{n}.jpg") for n in range(70)))
    expect(page.locator(".card")).to_have_count(60)
    expect(page.locator("#notice-text")).to_have_text(re.compile("10 pictures of 70 not taken"))
    server.gate.set()
    expect(page.locator("[data-state=done]")).to_have_count(60, timeout=30_000)
    assert page.locator(".name").first.inner_text() == "0.jpg"
    choose(page, as_file("new.jpg"))
    expect(page.locator(".name").last).to_have_text("new.jpg")
    expect(page.locator(".card")).to_have_count(60)


def test_the_page_brings_all_that_it_needs(page):
    """Nothing inline, which the policy would stop, and no address of elsewhere."""
    for file in PAGE.iterdir():
        text = file.read_text()
        assert "//" not in re.sub(r"http://www\.w3\.org/\S+|^\s*//.*|; //.*", "", text, flags=re.M)
        assert not re.search(r"\bstyle=|\bon\w+=\"|innerHTML|insertAdjacentHTML|\beval\b", text)


# --- For every eye and hand ---


def fill_with_everything(page: Page, server: StandIn) -> None:
    """Show a heat, an alternative, a broken file, one that cannot be shown, and one that waits."""
    captioned(page, as_file("scan.tif", turned(1, "TIFF")), as_file())
    choose(page, as_file("cut.jpg", PHOTO[:500]))
    expect(page.locator("[data-state=failed]")).to_have_count(1)
    server.replies.append(error(429, Retry_After="60"))
    choose(page)
    expect(page.locator(".doing").last).to_have_text(re.compile("Trying again"))
    page.locator("[data-state=done] .word").last.click()


def offline(page: Page, server: StandIn) -> None:
    server.stop()
    choose(page)
    expect(page.locator("#offline")).to_be_visible()


def without_token(page: Page, server: StandIn) -> None:
    server.token = "s3cret"
    choose(page)
    page.get_by_label("This server asks for a token").fill("x")
    page.keyboard.press("Enter")
    expect(page.locator("#token-refused")).to_be_visible()


STATES = {
    "empty": lambda page, server: expect(page.locator("#limits")).not_to_be_empty(),
    "everything": fill_with_everything,
    "offline": offline,
    "token": without_token,
    "notice": lambda page, server: carry(page, "paste"),
}


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_serious(browser, server, state, scheme, viewport):
    with opened_page(browser, server.url, color_scheme=scheme, viewport=viewport) as page:
        STATES[state](page, server)
        page.wait_for_timeout(300)  # until the heat is there
        found = Axe().run(page).response["violations"]
    assert [(f["id"], f["nodes"]) for f in found if f["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("width", [320, 390, 640])
def test_nothing_is_wider_than_the_window(browser, server, width):
    """A window of 1280 pixels at 200% is 640 wide, and at 400% 320."""
    server.captions = [("x" * 300, -1), ("a long caption of many words " * 8, -2)]
    server.model["name"] = "n" * 120
    with opened_page(browser, server.url, viewport={"width": width, "height": 640}) as page:
        captioned(page, as_file(f"{'name' * 40}.jpg"))
        choose(page, as_file(data=PHOTO[:500]))
        expect(page.locator("[data-state=failed]")).to_have_count(1)
        page.locator(".word").first.hover()
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_what_the_eye_asks_the_system_for(browser, server):
    options = {"reduced_motion": "reduce", "forced_colors": "active"}
    with opened_page(browser, server.url, **options) as page:
        captioned(page)
        page.locator(".word").first.hover()
        expect(page.locator(".word").first).to_have_css("outline-style", "solid")
        expect(page.locator(".heat")).to_have_css("transition-duration", "0s")


def test_focus_can_be_seen(page):
    captioned(page)
    for _ in range(9):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", page.evaluate("document.activeElement.outerHTML")


def test_a_panorama_and_a_ribbon_stay_in_their_place(page):
    for size in ((2000, 40), (40, 2000)):
        captioned(page, as_file(data=saved(Image.new("RGB", size, "red"), "JPEG")))
    for picture in page.locator(".picture").all():
        box = picture.bounding_box()
        assert box["width"] <= 400 and box["height"] <= 417
        assert min(box["width"], box["height"]) >= 7
