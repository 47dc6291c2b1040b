"""How the server starts, ready when it captions as its bundle says, and how it stops."""

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest

from cli.errors import UserError
from serving.bundle.golden import Golden, GoldenCaption
from serving.web import limits, running, startup
from serving.web.access import Access
from serving.web.app import create_app
from tests.support.server import (
    CAPTIONS,
    SIZE,
    FakeRuntime,
    ThreadedServer,
    fake_server,
    fake_service,
    image,
    read_until,
    threaded_server,
    wait_until,
)


def post(server: ThreadedServer, number: int) -> httpx.Response:
    return httpx.post(
        server.url + CAPTIONS, content=image(number), trust_env=False, verify=False, timeout=30
    )


def get(server: ThreadedServer, path: str) -> httpx.Response:
    return httpx.get(server.url + path, trust_env=False, verify=False, timeout=30)


def test_what_was_accepted_is_answered_before_the_end():
    runtime = FakeRuntime()
    runtime.hold.clear()
    with threaded_server(runtime) as server, ThreadPoolExecutor() as pool:
        answers = [pool.submit(post, server, 1)]
        wait_until(lambda: runtime.batches)
        answers += [pool.submit(post, server, number) for number in (2, 3)]
        wait_until(lambda: server.service.batcher.waiting == 2)
        with server.connect() as sending:  # This one was accepted, and its body is on the way.
            head = b"POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n"
            sending.sendall(head + image(4)[:3])
            wait_until(lambda: server.service._accepted == 4)
            server.stop()
            wait_until(lambda: get(server, "/readyz").status_code == 503)
            assert get(server, "/readyz").json()["error"]["code"] == "draining"
            assert get(server, "/healthz").status_code == 200
            refused = post(server, 5)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            assert refused.headers["Retry-After"] and refused.headers["Connection"] == "close"
            sending.sendall(image(4)[3:])
            wait_until(lambda: server.service.batcher.waiting == 3)
            runtime.hold.set()
            assert b"4 dogs" in read_until(sending, b"}")
        texts = [answer.result().json()["images"][0]["captions"][0]["text"] for answer in answers]
        assert texts == ["1 dogs", "2 dogs", "3 dogs"]
        server.thread.join(30)
        assert not server.thread.is_alive()
        with pytest.raises(OSError):
            server.connect()
    assert 5 not in runtime.computed


def test_idle_clients_and_slow_ones_do_not_keep_it_from_ending(monkeypatch):
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.1)
    with threaded_server() as server, contextlib.ExitStack() as stack:
        idle, slow, silent = (stack.enter_context(server.connect()) for _ in range(3))
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65536)
        slow.sendall(b"GET /hea")
        silent.sendall(b"")
        server.stop()
        server.thread.join(30)
        assert not server.thread.is_alive()


def test_a_computation_that_hangs_does_not_keep_it_from_ending():
    runtime = FakeRuntime()
    runtime.hold.clear()
    with threaded_server(runtime, deadline_s=0.1) as server:
        assert post(server, 1).status_code == 504
        server.stop()
        server.thread.join(30)
        assert not server.thread.is_alive() and server.service.busy


def test_it_answers_that_it_is_not_ready_while_it_loads():
    loading, loaded = threading.Event(), threading.Event()
    listener = running.listen("127.0.0.1", 0)
    url = running.url_of(listener)
    runtime, stop = FakeRuntime(), threading.Event()

    async def serve() -> None:
        service, stopping = fake_service(runtime), asyncio.Event()

        def load():
            loading.set()
            assert loaded.wait(30)
            return runtime

        async def start() -> None:
            service.start(await service.load(load))
            service.open()

        async def watch() -> None:
            await asyncio.to_thread(stop.wait, 30)
            stopping.set()

        watching = asyncio.create_task(watch())
        await running.serve(create_app(service, Access()), service, listener, start, stopping)
        await watching

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert loading.wait(30)
        with httpx.Client(base_url=url, trust_env=False, verify=False, timeout=30) as http:
            assert http.get("/healthz").status_code == 200
            assert http.get("/").status_code == 200
            for response in (
                http.get("/readyz"),
                http.get("/v1/model"),
                http.post(CAPTIONS, content=image(1)),
            ):
                assert response.status_code == 503
                assert response.json()["error"]["code"] == "not_ready"
            loaded.set()
            wait_until(lambda: http.get("/readyz").status_code == 200)
            assert http.post(CAPTIONS, content=image(1)).status_code == 200
    finally:
        loaded.set()
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


def test_a_failing_start_ends_the_server():
    service = fake_service(FakeRuntime())

    async def start() -> None:
        raise UserError("golden/01.png: expected 'a', got 'b'")

    async def serve() -> None:
        listener = running.listen("127.0.0.1", 0)
        app = create_app(service, Access())
        await running.serve(app, service, listener, start, asyncio.Event())

    with pytest.raises(UserError, match=r"golden/01\.png"):
        asyncio.run(serve())


def test_every_size_of_a_batch_is_warmed():
    runtime = FakeRuntime(batch_sizes=(1, 2, 4, 8, 16), parallel=2)
    startup.warm(runtime, SIZE, most=4)
    assert sorted(map(len, runtime.batches)) == [1, 1, 2, 2, 4, 4]
    only = FakeRuntime(batch_sizes=(8,))
    startup.warm(only, SIZE, most=4)
    assert list(map(len, only.batches)) == [8]


def golden_bundle(tmp_path, images: dict[str, bytes], numbers: list[int]) -> SimpleNamespace:
    """Return what the check of the golden images uses of a bundle."""
    expected = [
        Golden(
            name,
            (
                GoldenCaption(f"{number} dogs", (str(number), "dogs"), -1.0),
                GoldenCaption(f"{number} cats", (str(number), "cats"), -2.0),
            ),
        )
        for name, number in zip(images, numbers, strict=True)
    ]
    return SimpleNamespace(
        path=str(tmp_path),
        inside=lambda name: str(tmp_path / name),
        golden=lambda: expected,
        golden_bytes=lambda golden: images[golden.file],
    )


IMAGES = {f"{number:02}.png": image(number) for number in range(1, 7)}


def check(bundle: SimpleNamespace) -> FakeRuntime:
    """Check golden images as the server does; return the runtime that captioned them."""

    async def scenario() -> FakeRuntime:
        async with fake_server() as server:
            await startup.check_golden(server.service, bundle, "fake")
            return server.runtime

    return asyncio.run(scenario())


def test_golden_images_go_the_way_of_a_clients(tmp_path):
    runtime = check(golden_bundle(tmp_path, IMAGES, [1, 2, 3, 4, 5, 6]))
    assert set(runtime.computed) == {1, 2, 3, 4, 5, 6}


def test_another_caption_of_a_golden_image_is_named(tmp_path):
    with pytest.raises(UserError) as caught:
        check(golden_bundle(tmp_path, IMAGES, [1, 2, 3, 4, 55, 6]))
    line = str(caught.value)
    assert "golden/05.png" in line and "'55 dogs'" in line and "'5 dogs'" in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("content", [b"damaged", b"", image(66)])
def test_a_golden_image_without_captions_is_named(tmp_path, content):
    with pytest.raises(UserError, match=r"golden/02\.png"):
        check(golden_bundle(tmp_path, {"01.png": image(1), "02.png": content}, [1, 2]))


def test_a_deadline_that_is_too_short_for_the_machine_is_named(tmp_path):
    async def scenario() -> None:
        runtime = FakeRuntime()
        runtime.hold.clear()
        async with fake_server(runtime, deadline_s=0.05) as server:
            await startup.check_golden(server.service, bundle, "fake")

    bundle = golden_bundle(tmp_path, {"01.png": image(1)}, [1])
    with pytest.raises(UserError, match=r"01\.png: no captions after 0\.05 .* --deadline_s"):
        asyncio.run(scenario())


def test_a_bundle_without_golden_images_is_refused(tmp_path):
    with pytest.raises(UserError, match="no golden images"):
        check(golden_bundle(tmp_path, {}, []))


def test_two_servers_never_share_a_port():
    with running.listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port={port}: .* give another --port"):
            running.listen("127.0.0.1", port)


@pytest.mark.parametrize("name", ["getrlimit", "setrlimit"])
def test_a_sandbox_may_forbid_to_open_more_files(monkeypatch, name):
    def forbid(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(running.resource, name, forbid)
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 1 << 40)
    running.allow_connections()


@pytest.mark.parametrize(
    ("host", "problem"),
    [("192.0.2.1", "no such address"), ("no.such.name.invalid", "no address"), ("a b", "no addr")],
)
def test_an_address_of_nobody_is_one_line(host, problem):
    with pytest.raises(UserError, match=problem) as caught:
        running.listen(host, 0)
    assert f"--host={host}" in str(caught.value)


def test_names_and_both_kinds_of_addresses_are_listened_at():
    for host in ("localhost", "127.0.0.1", "::1"):
        if host == "::1" and not socket.has_ipv6:
            continue
        with running.listen(host, 0) as listener:
            url = running.url_of(listener)
            assert url.startswith(("http://127.0.0.1:", "http://[::1]:"))
