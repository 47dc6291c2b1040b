"""Hostile images and clients: each gets its own error, and nobody else notices."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from tests.support.bombs import all_bombs
from tests.support.image_kinds import all_kinds
from tests.support.mutations import mutated
from tests.support.server import (
    CAPTIONS,
    FakeRuntime,
    FakeServer,
    colour,
    decode_real,
    fake_server,
    fake_service,
    threaded_server,
)

BOMBS = all_bombs()
# The head of a good part of a form, which may have more headers.
PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
STATUSES = {
    "empty_file": 400,
    "too_large": 413,
    "unknown_format": 415,
    "truncated": 422,
    "corrupt": 422,
}
# What the process may hold more than before at any time. One bomb that is decoded takes more.
MOST_GROWTH = 200e6  # bytes


@pytest.fixture(autouse=True)
def any_number(monkeypatch):
    """Damaged images may show any number, and the runtime computes all of them."""
    monkeypatch.setattr("tests.support.server.POISON", None)


@pytest.fixture
def peak():
    """Return a function that tells by how many bytes the process has grown at the most."""

    def status(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

    Path("/proc/self/clear_refs").write_text("5")  # The peak begins anew.
    before = status("VmRSS:")
    return lambda: status("VmHWM:") - before


def best_text(entry: dict) -> str:
    return entry["captions"][0]["text"]


async def check_between_good_ones(server: FakeServer, data: bytes, number: int) -> dict:
    """Send an image between two good ones; return its entry in the answer."""
    first, last = number % 200, (number + 50) % 200
    response = await server.post_form(colour(first), data, colour(last, "BMP"))
    assert response.status_code == 200
    entries = response.json()["images"]
    assert best_text(entries[0]) == f"{first} dogs"
    assert best_text(entries[2]) == f"{last} dogs"
    return entries[1]


@pytest.mark.anyio
async def test_damaged_images_of_every_kind(log, peak):
    files = {name: kind.data for name, kind in all_kinds().items() if len(kind.data) < 50_000}
    outcomes = set()
    async with fake_server(decoder=decode_real) as server:
        for number, (how, data) in enumerate(mutated(files, 300, seed=5)):
            entry = await check_between_good_ones(server, data, number)
            code = entry["error"]["code"] if "error" in entry else None
            outcomes.add(code)
            assert code is None or code in STATUSES, how
            response = await server.post(data)
            assert response.status_code == (STATUSES[code] if code else 200), how
            if code:
                assert response.json() == {"error": entry["error"]}, how
                assert "\n" not in entry["error"]["message"]
            else:
                assert response.json()["images"][0]["captions"] == entry["captions"], how
        assert server.service.batcher.waiting == 0
    assert outcomes > {None, "corrupt", "truncated"}
    assert "cannot be decoded" not in log.text  # No error that its decoder does not know.
    assert peak() < MOST_GROWTH


@pytest.mark.anyio
async def test_bombs_are_refused_and_cost_nothing(peak):
    async with fake_server(decoder=decode_real) as server:
        for number, (name, (data, reason)) in enumerate(BOMBS.items()):
            entry = await check_between_good_ones(server, data, number)
            assert entry["error"]["code"] == reason, name
            response = await server.post(data)
            assert response.status_code == STATUSES[reason], name
            assert response.json() == {"error": entry["error"]}
    assert peak() < MOST_GROWTH


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("boundary", "body"),
    [
        (b"b", PART + b"A: b\r\n" * 1000 + b"\r\nx\r\n--b--\r\n"),
        (b"b", PART + b"A: " + b"b" * 100_000 + b"\r\n\r\nx\r\n--b--\r\n"),
        (b"b", b"--b\r\n" * 100_000),
        (b"b", b"-" * 200_000),
        (b"b" * 5000, b"--" + b"b" * 5000 + b"--\r\n"),
        (b"b", b"\r\n" * 100_000),
    ],
)
async def test_forms_that_are_made_to_cost(boundary, body):
    async with fake_server(decoder=decode_real) as server:
        kind = b"multipart/form-data; boundary=" + boundary
        response = await server.http.post(CAPTIONS, content=body, headers={"Content-Type": kind})
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "malformed"
        assert len(response.text) < 1000
        assert best_text((await server.post(colour(7))).json()["images"][0]) == "7 dogs"


@pytest.mark.anyio
async def test_a_form_of_a_thousand_parts_is_refused_at_the_first_too_many():
    async with fake_server(decoder=decode_real) as server:
        response = await server.post_form(*[colour(1)] * 1000)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_many_images")
        assert not server.runtime.batches


def test_slow_senders_and_slow_readers_keep_nobody_waiting():
    """A hundred of each; what they cost is only their connection."""
    photograph = colour(9, "BMP")
    head = (
        f"POST {CAPTIONS}?attention=true HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: image/bmp\r\nContent-Length: {len(photograph)}\r\n\r\n"
    ).encode()
    with threaded_server(decoder=decode_real) as server:
        slow: list[socket.socket] = []
        try:
            for number in range(100):
                sender = server.connect()
                sender.sendall(head + photograph[: number % len(photograph)])
                reader = server.connect()
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
                reader.sendall((head + photograph) * 3)  # and it never reads
                slow += [sender, reader]
            for number in range(20):
                answer = httpx.post(
                    server.url + CAPTIONS, content=colour(number), trust_env=False, timeout=30
                )
                while answer.status_code == 429:  # The readers' images fill the queue.
                    answer = httpx.post(
                        server.url + CAPTIONS, content=colour(number), trust_env=False, timeout=30
                    )
                assert best_text(answer.json()["images"][0]) == f"{number} dogs"
            # A slow sender is no refused one: when its body is there, it gets its captions.
            slow[0].sendall(photograph)
            assert slow[0].recv(12) == b"HTTP/1.1 200"
        finally:
            for client in slow:
                client.close()


def test_images_beside_a_flood_of_bombs_keep_their_captions():
    """Several threads decode at once; a neighbour's failure never moves captions."""

    async def flood(url: str) -> None:
        bombs = [data for data, _ in BOMBS.values()]
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:

            async def send(number: int) -> None:
                good, bad = colour(number), bombs[number % len(bombs)]
                files = [("image", (f"{n}.png", data)) for n, data in enumerate((bad, good, bad))]
                answer = await client.post(CAPTIONS, files=files)
                entries = answer.json()["images"]
                assert [list(entry)[1] for entry in entries] == ["error", "captions", "error"]
                assert best_text(entries[1]) == f"{number} dogs"

            await asyncio.gather(*(send(number) for number in range(200)))

    with threaded_server(decoder=decode_real, queue=1000) as server:
        asyncio.run(flood(server.url))
        assert server.service.batcher.waiting == 0


def test_few_images_are_decoded_at_once(monkeypatch):
    """Each of the largest takes up to a gigabyte meanwhile."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)))
    service = fake_service(FakeRuntime())
    assert service.captioner._pool._max_workers == 4
    service.stop()
