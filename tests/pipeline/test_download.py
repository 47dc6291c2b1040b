"""Fetching one file from a server that cuts, refuses, forgets and changes its mind."""

import time
from email.utils import formatdate

import numpy as np
import pytest

from cli.errors import UserError
from pipeline.download import http as download
from tests.support.download import Fault, Server

CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
FILE = "/zips/file.zip"


@pytest.fixture
def server():
    with Server({FILE: CONTENT}) as server:
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The waits between tries, which take no time here."""
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.zip.part"


def fetch(server, path, size=300_000):
    download.fetch(server.url + FILE, str(path), size)


def ranges(server):
    return [asked for _, asked, _ in server.asked]


def test_cuts_are_gone_on_from_and_no_byte_comes_twice(server, path, waits):
    server.faults = [Fault(cut=100_000), Fault(cut=0), Fault(cut=70_001)]
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert server.sent == len(CONTENT)
    assert ranges(server) == [None, "bytes=100000-", "bytes=100000-", "bytes=170001-"]
    assert waits == [1, 2, 1]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_an_earlier_run_fetched_is_kept(server, path):
    server.faults = [Fault(cut=100_000), Fault(status=403)]
    with pytest.raises(UserError, match=r"/zips/file\.zip: the server says 403 Forbidden"):
        fetch(server, path)
    assert path.read_bytes() == CONTENT[:100_000]
    fetch(server, path)
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert server.sent == len(CONTENT) and len(server.asked) == 3


def test_an_overloaded_server_is_given_the_time_it_asks_for(server, path, waits):
    date = formatdate(time.time() + 300, usegmt=True)
    server.faults = [
        Fault(status=503, headers={"Retry-After": "7"}),
        Fault(status=429, headers={"Retry-After": date}),
        Fault(status=500, headers={"Retry-After": "soon"}),
    ]
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert waits[0] == 7 and 250 < waits[1] <= 300 and waits[2] == 4


def test_a_server_that_stays_overloaded_is_given_up_later_once_something_came(server, path, waits):
    server.faults = [Fault(status=503)] * 4
    with pytest.raises(UserError, match=r"503 Service Unavailable \(4 times in a row\)"):
        fetch(server, path)
    assert len(server.asked) == 4 and waits == [1, 2, 4]
    server.faults = [Fault(cut=100_000), *[Fault(status=503)] * 10]
    with pytest.raises(UserError, match=r"503 Service Unavailable \(10 times in a row\)"):
        fetch(server, path)
    assert max(waits) <= 600 and path.read_bytes() == CONTENT[:100_000]


def test_a_server_that_always_cuts_at_the_same_byte_is_given_up(server, path):
    server.faults = [Fault(cut=100_000, whole=True)] * 20
    with pytest.raises(UserError, match=r"the connection was cut \(10 times in a row\)$"):
        fetch(server, path)


def test_a_missing_file_is_said_at_once(server, path):
    server.files.clear()
    with pytest.raises(UserError, match=r"the server says 404 Not Found$"):
        fetch(server, path)
    assert len(server.asked) == 1 and not path.exists()


def test_a_server_without_ranges_starts_over(server, path, capsys):
    server.faults = [Fault(cut=100_000), Fault(whole=True)]
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert server.sent == 100_000 + len(CONTENT)
    assert "cannot be had in parts: from the start" in capsys.readouterr().err


@pytest.mark.parametrize("blind", [False, True], ids=["honours If-Range", "ignores If-Range"])
def test_a_file_that_changed_between_two_runs_is_fetched_anew(server, path, blind):
    server.faults = [Fault(cut=100_000), Fault(status=403)]
    with pytest.raises(UserError):
        fetch(server, path)
    server.files[FILE] = OTHER
    server.faults = [Fault(blind=blind)]
    fetch(server, path)
    assert path.read_bytes() == OTHER
    assert ranges(server)[2] == "bytes=100000-" and server.asked[2][2].startswith('"')


def test_another_mirror_goes_on_where_the_first_one_stopped(server, path):
    server.faults = [Fault(cut=100_000), Fault(status=403)]
    with pytest.raises(UserError):
        fetch(server, path)
    with Server({FILE: CONTENT}) as mirror:
        fetch(mirror, path)
        assert path.read_bytes() == CONTENT
        assert mirror.asked == [(FILE, "bytes=100000-", None)]


def test_a_file_of_another_size_is_refused_before_it_is_fetched(server, path):
    expected = r"expected a file of 1,000,000 bytes, the server has one of 300,000"
    with pytest.raises(UserError, match=expected):
        fetch(server, path, size=1_000_000)
    assert not path.exists()
    path.write_bytes(CONTENT[:100_000])
    with pytest.raises(UserError, match=expected):
        fetch(server, path, size=1_000_000)
    assert path.read_bytes() == CONTENT[:100_000]


def test_a_range_that_was_not_asked_for_is_refused(server, path):
    path.write_bytes(CONTENT[:100_000])
    server.faults = [Fault(headers={"Content-Range": f"bytes 5-299999/{len(CONTENT)}"})]
    with pytest.raises(UserError, match="asked for the bytes from 100,000 on, got 'bytes 5-"):
        fetch(server, path)
    assert path.read_bytes() == CONTENT[:100_000]


def test_a_server_that_says_neither_length_nor_version_serves(server, path):
    server.faults = [Fault(bare=True, cut=100_000)]
    fetch(server, path)
    assert path.read_bytes() == CONTENT and server.sent == len(CONTENT)


def test_no_connection_is_one_line(path):
    with Server({}) as server:
        pass
    with pytest.raises(UserError) as caught:
        fetch(server, path)
    assert str(caught.value) == f"{server.url}{FILE}: Connection refused (4 times in a row)"


def test_what_is_no_url_is_said_at_once(path, waits):
    with pytest.raises(UserError, match=r"^http:///file: Invalid URL"):
        download.fetch("http:///file", str(path), 1)
    assert waits == []


def test_the_proxy_of_the_environment_is_taken(server, path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    url = "http://published.invalid/file.zip"
    server.files[url] = CONTENT
    download.fetch(url, str(path), len(CONTENT))
    assert path.read_bytes() == CONTENT and server.asked[0][0] == url


def test_certificates_that_are_not_there_are_named(path, waits, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent.pem")
    with pytest.raises(
        UserError, match=r"^https://127\.0\.0\.1:9/a: .*REQUESTS_CA_BUNDLE"
    ) as caught:
        download.fetch("https://127.0.0.1:9/a", str(path), 1)
    assert "/nonexistent.pem" in str(caught.value) and waits == []
