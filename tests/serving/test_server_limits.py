"""Who is refused before a body is read, and how much of a body is."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cli.errors import UsageError
from serving.web import limits
from serving.web.access import Access, is_local, parse_origins, parse_token
from tests.support.server import (
    CAPTIONS,
    FakeRuntime,
    FakeServer,
    fake_server,
    image,
    raw_scope,
    until,
)

pytestmark = pytest.mark.anyio
MOST = 1000  # bytes of a body
TOKEN = Access(token="Very-Secret")
RIGHT = {"Authorization": "Bearer Very-Secret"}


@pytest.fixture(autouse=True)
def no_linger(monkeypatch):
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.01)


class Client:
    """A client that sends a body piece by piece, seen from ASGI.

    Attributes:
        read: How many bytes the server had read when it began to answer.
        status: Of the answer.
        headers: Of the answer.
    """

    def __init__(self, server: FakeServer, pieces: AsyncIterator[bytes]):
        self._server, self._pieces = server, pieces
        self.read, self.status, self._complete = 0, 0, False
        self.headers: dict[str, str] = {}

    async def post(self, **headers: str) -> "Client":
        """Post the body and return the client when it is answered."""
        async with asyncio.timeout(30):
            await self._server.app(raw_scope(**headers), self._receive, self._send)
        return self

    async def _receive(self) -> dict[str, Any]:
        if self._complete:
            await asyncio.Event().wait()
        piece = await anext(self._pieces, None)
        self._complete = piece is None
        if not self.status:
            self.read += len(piece or b"")
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): text.decode() for name, text in message["headers"]}


async def endless() -> AsyncIterator[bytes]:
    """Yield bytes for ever."""
    while True:
        yield b"x" * 100
        await asyncio.sleep(0)


async def stalling(*pieces: bytes) -> AsyncIterator[bytes]:
    """Yield pieces and then nothing for ever."""
    for piece in pieces:
        yield piece
    await asyncio.Event().wait()


async def test_a_body_that_is_announced_too_large_is_not_read():
    async with fake_server(request_bytes=MOST) as server:
        client = await Client(server, endless()).post(content_length=str(MOST + 1))
    assert (client.status, client.read) == (413, 0)
    assert client.headers["connection"] == "close"


@pytest.mark.parametrize("length", ["9" * 30, "9" * 5000])
async def test_an_absurd_length_is_too_large(length):
    async with fake_server(request_bytes=MOST) as server:
        client = await Client(server, endless()).post(content_length=length)
    assert (client.status, client.read) == (413, 0)


async def test_an_endless_body_is_refused_at_the_limit():
    async with fake_server(request_bytes=MOST) as server:
        client = await Client(server, endless()).post()
        form = await Client(server, endless()).post(content_type="multipart/form-data; boundary=y")
    assert (client.status, client.read) == (413, MOST + 100)
    assert client.headers["connection"] == "close"
    assert form.status in (400, 413) and form.read <= MOST + 100


async def test_a_body_of_just_the_limit_is_read():
    content = b"damaged".ljust(MOST)
    async with fake_server(request_bytes=MOST) as server:
        assert (await server.post(content)).status_code == 422
        assert (await server.post(content + b" ")).status_code == 413


async def test_a_body_that_stalls_is_given_up(monkeypatch):
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.05)
    async with fake_server() as server:
        client = await Client(server, stalling(b"image ")).post()
        trickle = await Client(server, endless()).post()
    assert client.status == trickle.status == 408
    assert client.headers["connection"] == "close"


async def test_all_bodies_together_are_bounded(monkeypatch):
    monkeypatch.setattr(limits, "HELD_BODIES", 1)
    release = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b"damaged".ljust(MOST * 6 // 10)
        await release.wait()

    async with fake_server(request_bytes=MOST) as server:
        first = asyncio.create_task(Client(server, half()).post())
        middleware = body_limit(server)
        await until(lambda: middleware._held)
        second = await Client(server, half()).post()
        assert (second.status, second.headers["retry-after"]) == (429, "1")
        release.set()
        assert (await first).status == 422
        assert middleware._held == 0
        assert (await Client(server, half()).post()).status == 422


def body_limit(server: FakeServer):
    """Return the middleware that counts bodies."""
    layer = server.app.middleware_stack or server.app.build_middleware_stack()
    server.app.middleware_stack = layer
    while type(layer).__name__ != "BodyLimit":
        layer = getattr(layer, "_app", None) or layer.app
    return layer


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer very-secret"},
        {"authorization": "Basic Very-Secret"},
        {"authorization": "Very-Secret"},
        {"authorization": "Bearer \u00e9"},
    ],
)
async def test_without_the_token_no_body_is_read(headers):
    async with fake_server(access=TOKEN) as server:
        client = await Client(server, endless()).post(**headers)
    assert (client.status, client.read) == (401, 0)
    assert client.headers["www-authenticate"] == "Bearer"


async def test_with_the_token_images_are_captioned():
    async with fake_server(access=TOKEN) as server:
        assert (await server.post(image(5), headers=RIGHT)).status_code == 200
        assert (await server.http.get("/metrics", headers=RIGHT)).status_code == 200
        assert (await server.http.get("/metrics")).status_code == 401
        for path in ("/", "/healthz", "/readyz", "/v1/model", "/openapi.json"):
            assert (await server.http.get(path)).status_code == 200, path
        # No way around by another spelling of the path.
        for path in ("/v1/captions/", "//v1/captions", "/v1/Captions", "/v1/./captions"):
            assert (await server.http.post(path, content=image(5))).status_code in (401, 404), path


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:8080", 200),
        ("localhost.", 200),
        ("app.localhost:80", 200),
        ("127.0.0.1:8080", 200),
        ("127.8.8.8", 200),
        ("[::1]:8080", 200),
        ("[::1]", 200),
        ("example.org", 400),
        ("example.org:8080", 400),
        ("localhost.example.org", 400),
        ("127.0.0.1.example.org", 400),
        ("192.168.0.1", 400),
        ("[::2]", 400),
        ("0.0.0.0", 400),
        ("", 400),
    ],
)
async def test_only_names_of_this_machine_are_answered(host, status):
    async with fake_server() as server:
        for path in ("/healthz", "/"):
            response = await server.http.get(path, headers={"Host": host})
            assert response.status_code == status
        if status == 400:
            assert (await server.http.get("/", headers={"Host": host})).json()["error"][
                "code"
            ] == "wrong_host"


async def test_other_names_are_answered_where_others_may_come():
    async with fake_server(access=Access(local_only=False)) as server:
        response = await server.http.get("/healthz", headers={"Host": "example.org"})
    assert response.status_code == 200


PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
}
SITE = "https://example.org"


async def test_no_site_may_use_the_server_by_default():
    async with fake_server() as server:
        response = await server.post(image(5), headers={"Origin": SITE})
        preflight = await server.http.options(CAPTIONS, headers={"Origin": SITE, **PREFLIGHT})
    for answer in (response, preflight):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert preflight.status_code == 405


async def test_only_sites_that_are_named_may_use_the_server():
    access = Access(token="Very-Secret", origins=(SITE,))
    async with fake_server(access=access) as server:
        for origin, allowed in ((SITE, SITE), (f"{SITE}.evil.com", None), ("null", None)):
            headers = {"Origin": origin}
            preflight = await server.http.options(CAPTIONS, headers=headers | PREFLIGHT)
            answer = await server.post(image(5), headers=headers | RIGHT)
            refusal = await server.post(image(5), headers=headers)
            assert refusal.status_code == 401
            for response in (preflight, answer, refusal):
                assert response.headers.get("Access-Control-Allow-Origin") == allowed
            assert (preflight.status_code == 200) is (allowed is not None)
            assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "example.org",
        "https://",
        "https://a/b",
        "https://a b",
        "https://a?x",
        "ftp://a",
        "null",
        "https://a:65536",
    ],
)
def test_what_is_no_origin_is_refused(text):
    with pytest.raises(UsageError, match="--allow_origin: expected"):
        parse_origins("allow_origin", f"https://fine.org, {text}")


def test_origins_are_separated_by_commas():
    text = "https://a.org, http://localhost:3000,http://[::1]:80"
    assert parse_origins("allow_origin", text) == (
        "https://a.org",
        "http://localhost:3000",
        "http://[::1]:80",
    )
    assert parse_origins("allow_origin", "") == ()


@pytest.mark.parametrize("value", ["", " ", "a b", "a\n", "é", "x" * 1001])
def test_a_token_that_cannot_be_sent_is_refused(value):
    with pytest.raises(UsageError, match="CAPTIONER_TOKEN") as caught:
        parse_token("CAPTIONER_TOKEN", value)
    assert not value.strip() or value not in str(caught.value)


def test_a_token_is_taken_as_it_is():
    assert parse_token("CAPTIONER_TOKEN", "aB3$%") == "aB3$%"
    assert parse_token("CAPTIONER_TOKEN", None) == ""


def test_names_of_this_machine():
    assert all(map(is_local, ("127.0.0.1", "localhost", "::1", "127.1.2.3")))
    assert not any(map(is_local, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))


async def test_a_client_that_goes_while_it_sends_leaves_nothing(log):
    runtime = FakeRuntime()
    async with fake_server(runtime) as server:
        messages = [
            {"type": "http.request", "body": b"image ", "more_body": True},
            {"type": "http.disconnect"},
        ]
        sent = []

        async def receive():
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await server.app(raw_scope(), receive, send)
        assert not sent and not runtime.batches
        assert body_limit(server)._held == 0
        assert await server.metric('captioner_requests_total{status="499"}') == 1
        assert await server.metric('captioner_stage_seconds_count{stage="read"}') == 0
        assert "Traceback" not in log.text
