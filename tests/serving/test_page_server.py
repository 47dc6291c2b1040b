"""The page with the real server: what each of its refusals looks like, and a model's captions."""

import contextlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from serving.web.access import Access
from tests.support import browser as browsers
from tests.support.browser import opened_page, started_browser
from tests.support.commands import ROOT, users_environment
from tests.support.four import FOUR_DETOKENISED, four_picture
from tests.support.image_kinds import turned
from tests.support.server import FACTS, LIMITS, POISON, FakeRuntime, image, threaded_server

pytestmark = [
    pytest.mark.slow,  # needs a browser
    pytest.mark.skipif(browsers.CHROMIUM is None, reason=browsers.SKIPPED),
]


@pytest.fixture(scope="module")
def browser():
    with started_browser() as started:
        yield started


def choose(page: Page, *contents: bytes) -> None:
    page.set_input_files(
        "#files",
        [{"name": f"{n}.jpg", "mimeType": "", "buffer": data} for n, data in enumerate(contents)],
    )


# --- Without a model: pictures are numbers ---


def test_captions_and_refusals_of_the_server(browser):
    with threaded_server() as server, opened_page(browser, server.url) as page:
        expect(page.locator("#model")).to_have_text(re.compile(rf"{FACTS.name}\s+f{{12}}\s*$"))
        choose(page, image(5), b"damaged", b"plain text", image(7))
        expect(page.locator("[data-state=done]")).to_have_count(2)
        expect(page.locator(".caption:visible")).to_have_text(["5 dogs", "7 dogs"])
        expect(page.locator(".what:visible")).to_have_text(
            [re.compile("damaged"), re.compile("no picture in a format")]
        )
        expect(page.locator(".detail:visible").first).to_have_text(re.compile("expected an image"))
        expect(page.locator(".word").first).to_have_attribute(
            "aria-description", "looked everywhere alike"
        )


def test_the_servers_limits_hold_before_the_upload(browser):
    with threaded_server() as server, opened_page(browser, server.url) as page:
        expect(page.locator("#limits")).to_have_text(re.compile("up to 1 MB"))
        choose(page, bytes(LIMITS.image_bytes + 1))
        expect(page.locator(".detail")).to_have_text(re.compile("it was not sent"))


def test_a_full_queue_is_waited_for(browser):
    runtime = FakeRuntime(batch_sizes=(1,))
    runtime.hold.clear()
    limits = {"queue": 1, "batch": 1}
    with threaded_server(runtime, **limits) as server, opened_page(browser, server.url) as page:
        choose(page, *(image(n) for n in range(6)))
        expect(page.locator(".doing", has_text="too much to do")).not_to_have_count(0)
        runtime.hold.set()
        expect(page.locator(".caption")).to_have_text([f"{n} dogs" for n in range(6)])


def test_the_token_of_the_server(browser):
    access = Access(token="s3cret")
    with threaded_server(access=access) as server, opened_page(browser, server.url) as page:
        field = page.get_by_label("This server asks for a token")
        field.fill("wrong")
        page.keyboard.press("Enter")
        choose(page, image(5))
        expect(page.locator("#token-refused")).to_be_visible()
        field.fill("s3cret")
        page.keyboard.press("Enter")
        expect(page.locator(".caption")).to_have_text("5 dogs")


def test_a_failing_model_can_be_tried_again(browser):
    with threaded_server() as server, opened_page(browser, server.url) as page:
        choose(page, image(POISON), image(5))
        expect(page.locator("[data-state=done] .caption")).to_have_text("5 dogs")
        expect(page.locator(".card").first).to_have_text(re.compile("Trying again in"))


# --- With a model ---


@contextlib.contextmanager
def served(bundle: Path, port: int) -> Iterator[None]:
    """Run the command until the end of the context, which stops it as an administrator does."""
    command = [sys.executable, "-m", "serving.server", f"--bundle={bundle}", f"--port={port}"]
    process = subprocess.Popen(
        [*command, "--runtime=litert"],
        cwd=ROOT,
        env=users_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < end, "the server did not start"
            with contextlib.suppress(httpx.HTTPError):
                url = f"http://127.0.0.1:{port}/readyz"
                if httpx.get(url, trust_env=False).status_code == 200:
                    break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_a_trained_model_captions_before_and_after_its_server_stopped(browser, four_bundle, port):
    pictures = [four_picture(n) for n in FOUR_DETOKENISED]
    captions = list(FOUR_DETOKENISED.values())
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.ExitStack())
        server.enter_context(served(four_bundle, port))
        page = stack.enter_context(opened_page(browser, f"http://127.0.0.1:{port}/"))
        choose(page, *pictures)
        expect(page.locator(".caption")).to_have_text(captions)
        assert "dog's" in page.locator(".caption").last.inner_text()
        expect(page.locator(".word", has_text="'s")).to_have_count(1)
        page.locator(".word").first.hover()
        expect(page.locator(".heat").first).to_have_css("opacity", "1")
        server.close()
        choose(page, pictures[0])
        expect(page.locator("#offline")).to_be_visible()
        server.enter_context(served(four_bundle, port))
        expect(page.locator(".caption")).to_have_text([*captions, captions[0]])
        expect(page.locator("#offline")).to_be_hidden()


def test_every_turned_picture_gets_the_same_caption(browser, four_bundle, port):
    fine = {"quality": 95, "subsampling": 0}
    with (
        served(four_bundle, port),
        opened_page(browser, f"http://127.0.0.1:{port}/") as page,
    ):
        choose(page, *(turned(n, **fine) for n in range(1, 9)))
        expect(page.locator("[data-state=done]")).to_have_count(8)
        assert len(set(page.locator(".caption").all_text_contents())) == 1
        choose(page, turned(6, "TIFF"), turned(6, "HEIF", quality=95))
        expect(page.locator("[data-state=done]")).to_have_count(10)
