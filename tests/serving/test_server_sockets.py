"""The server on a socket: clients that are slow, many, rude or gone."""

import json
import socket
import threading

import httpx
import pytest

from serving.web import connections, limits
from tests.support.server import (
    CAPTIONS,
    FakeRuntime,
    ThreadedServer,
    image,
    read_until,
    threaded_server,
    wait_until,
)

POST = b"POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def read_all(client: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection."""
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def is_alive(server: ThreadedServer) -> bool:
    """Return whether the server still captions."""
    response = httpx.post(
        server.url + CAPTIONS, content=image(9), trust_env=False, verify=False, timeout=30
    )
    return response.status_code == 200 and "9 dogs" in response.text


@pytest.mark.parametrize("sent", [b"", b"GET / HT", HEALTH[:-2], POST[:-1]])
def test_the_head_of_a_request_must_come_in_time(sent, monkeypatch):
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.2)
    with threaded_server() as server, server.connect() as client:
        client.sendall(sent)
        assert read_all(client) == b""
        assert is_alive(server)


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/healthz", 200), ("/none", 404)])
def test_head_is_answered_as_get_without_a_body(path, status):
    with threaded_server() as server, server.connect() as client:
        client.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        client.sendall(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        head, _, rest = read_all(client).partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status}".encode())
        assert rest.startswith(b"HTTP/1.1 200")


def test_the_head_of_the_next_request_must_come_in_time(monkeypatch):
    with threaded_server() as server, server.connect() as client:
        client.sendall(HEALTH)
        assert read_until(client, b"}").startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(limits, "HEAD_SECONDS", 0.2)
        client.sendall(b"GET /health")
        assert read_all(client) == b""


def test_a_request_at_work_is_no_slow_head(monkeypatch):
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.05)
    runtime = FakeRuntime()
    runtime.hold.clear()
    with threaded_server(runtime) as server, server.connect() as client:
        client.sendall(POST + b"Content-Length: 7\r\nConnection: close\r\n\r\n" + image(5))
        wait_until(lambda: runtime.batches)
        threading.Timer(0.3, runtime.hold.set).start()
        assert read_all(client).startswith(b"HTTP/1.1 200")


def test_a_body_must_come_in_time(monkeypatch):
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.1)
    with threaded_server() as server, server.connect() as client:
        client.sendall(POST + b"Content-Length: 7\r\n\r\nimage")
        answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 408") and b"slow_body" in answer
        assert is_alive(server)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux bounds it")
def test_a_client_that_never_reads_its_answers_is_dropped(monkeypatch):
    monkeypatch.setattr(limits, "DELIVERY_SECONDS", 1)
    request = HEALTH.replace(b"/healthz", b"/openapi.json")
    with threaded_server() as server, server.connect() as client:
        with pytest.raises(ConnectionError):
            while True:
                client.sendall(request * 100)
        assert is_alive(server)


def test_an_idle_connection_is_closed(monkeypatch):
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.2)
    with threaded_server() as server, server.connect() as client:
        client.sendall(HEALTH)
        assert read_all(client).startswith(b"HTTP/1.1 200")


def test_too_many_connections_are_refused_and_later_taken(monkeypatch):
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 3)
    with threaded_server() as server:
        clients = [server.connect() for _ in range(3)]
        for client in clients:
            client.sendall(HEALTH)
            assert read_until(client, b"}").startswith(b"HTTP/1.1 200")
        with server.connect() as client:
            head, _, body = read_all(client).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503") and b"Retry-After" in head
            assert json.loads(body)["error"]["code"] == "connections"
        for client in clients:
            client.close()
        wait_until(lambda: is_alive(server))


def test_a_client_that_still_sends_reads_why_it_is_refused():
    body = b"x" * (8 << 20)
    with threaded_server(request_bytes=1 << 20) as server, server.connect() as client:
        client.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body))
        client.sendall(body)  # No reset, although nobody wants it.
        answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 413") and b"body_too_large" in answer
        assert answer.lower().count(b"connection: close") == 1


def test_an_endless_body_ends(monkeypatch):
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.1)
    with threaded_server(request_bytes=1 << 20) as server, server.connect() as client:
        client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(OSError):
            while True:
                client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        assert is_alive(server)


def test_an_endless_body_of_a_request_without_one_ends(monkeypatch):
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.1)
    with threaded_server() as server, server.connect() as client:
        client.sendall(HEALTH[:-2] + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(OSError):
            while True:
                client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        assert is_alive(server)


def test_a_client_that_waits_for_100_continue_is_refused_without_sending():
    with threaded_server(request_bytes=10) as server, server.connect() as client:
        client.sendall(POST + b"Content-Length: 11\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 413")


def test_requests_in_a_pipe_are_answered_in_order():
    with threaded_server() as server, server.connect() as client:
        last = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        length = b"Content-Length: 7\r\n\r\n"
        client.sendall(POST + length + image(5) + HEALTH + POST + length + image(6) + last)
        answer = read_all(client)
        assert answer.count(b"HTTP/1.1 200") == 4
        assert answer.index(b"5 dogs") < answer.index(b"6 dogs")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",  # TLS
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 20000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        POST + b"Content-Length: nine\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 7\r\nContent-Length: 8\r\n\r\n",
        POST + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nimage\r\nnonsense\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT evil.com:80 HTTP/1.1\r\nHost: evil.com\r\n\r\n",
        b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_http_harms_nobody(sent, capfd):
    with threaded_server() as server:
        with server.connect() as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            answer = read_all(client)
            assert b" 500 " not in answer[:20]
        assert is_alive(server)
    assert "Traceback" not in capfd.readouterr().err


def test_clients_that_go_at_any_time_leave_nothing():
    runtime = FakeRuntime()
    runtime.hold.clear()
    whole = POST + b"Content-Length: 7\r\n\r\n" + image(5)
    with threaded_server(runtime) as server:
        batcher = server.service.batcher
        with server.connect() as client:
            client.sendall(whole)
            wait_until(lambda: runtime.batches)
        for cut in (0, 1, 20, len(POST), len(whole) - 3, len(whole)):
            with server.connect() as client:
                client.sendall(whole[:cut])
                if cut == len(whole):
                    wait_until(lambda: batcher.waiting == 1)
        wait_until(lambda: batcher.waiting == 0)
        runtime.hold.set()
        assert is_alive(server)
        assert 5 not in runtime.computed[1:]
        wait_until(lambda: server.service._accepted == 0)


def test_the_options_of_uvicorn_follow_the_limits():
    options = connections.uvicorn_options()
    assert options["h11_max_incomplete_event_size"] == limits.MAX_HEAD_BYTES
    assert options["timeout_keep_alive"] == limits.IDLE_SECONDS
