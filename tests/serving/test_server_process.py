"""The server as people run it: a process with a bundle, signals, kills and load."""

import contextlib
import io
import json
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from serving import server as command
from tests.support.commands import ROOT, one_error, run_command
from tests.support.four import FOUR, FOUR_DETOKENISED, four_picture
from tests.support.hostile import hostile_environment
from tests.support.server import wait_until
from tests.support.server_process import ServerProcess, server_process, start_process

PICTURES = {image_id: four_picture(image_id) for image_id in FOUR}
MIB = 1 << 20


@pytest.fixture(scope="module")
def lite(four_bundle) -> Iterator[ServerProcess]:
    with server_process(four_bundle, "--runtime=litert") as server:
        yield server


def best(response: httpx.Response) -> str:
    return response.json()["images"][0]["captions"][0]["text"]


def test_images_get_the_captions_of_the_run(lite):
    for image_id, picture in PICTURES.items():
        response = lite.post(picture, attention="true")
        assert best(response) == FOUR_DETOKENISED[image_id]
        caption = response.json()["images"][0]["captions"][0]
        grid = lite.http.get("/v1/model").json()["grid"]
        assert len(caption["attention"]) == len(caption["words"])
        assert [len(caption["attention"][0]), len(caption["attention"][0][0])] == grid


def test_it_says_where_it_listens_and_what_it_serves(lite, four_bundle):
    card = json.loads((four_bundle / "card.json").read_text())
    text = "".join(lite.stdout)
    assert card["name"] in text and card["fingerprint"][:12] in text
    assert "batches of 1," in text  # LiteRT takes no more, whatever --max_batch is.
    assert "runtime litert" in text and "64 MiB" in text and "this machine only" in text
    assert "Traceback" not in lite.stderr


def test_a_second_server_does_not_take_its_port(lite, four_bundle, capsys):
    port = lite.url.rpartition(":")[2]
    assert run_command(command, bundle=four_bundle, port=port) == 1
    assert f"--port={port}: Address already in use; another program" in one_error(capsys)
    assert lite.post(PICTURES[next(iter(FOUR))]).status_code == 200


def test_memory_stays_flat(lite):
    pictures = list(PICTURES.values())
    large = b"\xff" * (2 * MIB)

    def caption(number: int) -> int:
        if number % 10 == 0:
            return lite.post(large).status_code
        return lite.post(pictures[number % 4]).status_code

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(caption, range(200)))
        before = lite.resident_bytes()
        statuses = Counter(pool.map(caption, range(1000)))
    assert statuses == {200: 900, 415: 100}
    assert lite.resident_bytes() < before + 30 * MIB


def test_sigterm_under_load_loses_nothing(four_bundle):
    answers: list[tuple[int, str]] = []
    begun = threading.Event()

    with server_process(four_bundle, "--runtime=litert") as server:

        def client(image_id: int) -> None:
            with httpx.Client(base_url=server.url, trust_env=False, verify=False) as http:
                while True:
                    try:
                        response = http.post("/v1/captions", content=PICTURES[image_id])
                    except httpx.ConnectError:  # It is gone, and was not asked.
                        return
                    text = best(response) if response.status_code == 200 else ""
                    answers.append((response.status_code, text))
                    if response.status_code != 200 or text != FOUR_DETOKENISED[image_id]:
                        return
                    if len(answers) > 50:
                        begun.set()

        with ThreadPoolExecutor(16) as pool:
            clients = [pool.submit(client, image_id) for image_id in list(FOUR) * 4]
            assert begun.wait(60)
            server.process.send_signal(signal.SIGTERM)
            for done in clients:
                done.result(60)  # No connection was cut, and no answer.
        assert server.process.wait(60) == 0
        log = [json.loads(line) for line in server.stderr.splitlines() if line.startswith("{")]
    assert {status for status, _ in answers} <= {200, 503}
    assert all(text in FOUR_DETOKENISED.values() for status, text in answers if status == 200)
    assert len(log) == len(answers)
    assert not [line for line in log if line["level"] != "info"]


def test_a_second_signal_ends_it_at_once(four_bundle):
    with server_process(four_bundle, "--runtime=litert") as server:
        host, port = server.url.removeprefix("http://").split(":")
        head = b"POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(head)  # Accepted: the server waits for its body.
            wait_until(lambda: _accepted(server))
            server.process.send_signal(signal.SIGINT)
            wait_until(lambda: "stopping" in server.stderr)
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(30) == 128 + signal.SIGINT


def test_a_signal_ends_it_though_nobody_reads_stderr(four_bundle):
    command_line = [sys.executable, "-m", "serving.server", f"--bundle={four_bundle}", "--port=0"]
    process = subprocess.Popen(
        [*command_line, "--runtime=litert"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        process.stderr.readline()  # It has begun to load; now the reader goes away.
        process.stderr.close()
        assert any(line.startswith("access:") for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_malformed_form_is_a_line_of_json_in_the_log(four_bundle):
    with server_process(four_bundle, "--runtime=litert") as server:
        before = server.stderr
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        response = server.http.post("/v1/captions", content=b"no form", headers=headers)
        assert response.status_code == 400
        wait_until(lambda: '"reason": "malformed"' in server.stderr)
        lines = server.stderr.removeprefix(before).splitlines()
        assert all(line.startswith("{") for line in lines), lines


def _accepted(server: ServerProcess) -> bool:
    # The request before was sent before this one, and the server takes them in order.
    return server.http.get("/readyz").status_code == 200


def test_a_signal_while_it_loads_ends_it(four_bundle, tmp_path):
    process = start_process(four_bundle, tmp_path / "log", "--runtime=litert")
    wait_until(lambda: "loading" in (tmp_path / "log").read_text())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


_HANGING = """
import sys, threading
from serving import server

load = server.open_runtime

def hang_at_white(bundle, kind):
    runtime = load(bundle, kind)
    caption = runtime.caption
    runtime.caption = lambda pixels: (
        threading.Event().wait() if pixels.min() == 255 else caption(pixels)
    )
    return runtime

server.open_runtime = hang_at_white
server.run(server.main, server.define_flags)
"""


def test_a_computation_that_hangs_does_not_outlive_a_signal(four_bundle):
    flags = ("--runtime=litert", "--deadline_s=1")
    with server_process(four_bundle, *flags, program=("-c", _HANGING)) as server:
        assert server.post(white_picture()).status_code == 504
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def white_picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(file, "PNG")
    return file.getvalue()


_FEW_FILES = """
import resource
from serving import server

resource.setrlimit(resource.RLIMIT_NOFILE, (80, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
server.run(server.main, server.define_flags)
"""


def test_many_connections_need_no_other_limit_of_the_shell(four_bundle):
    with (
        server_process(four_bundle, "--runtime=litert", program=("-c", _FEW_FILES)) as server,
        contextlib.ExitStack() as stack,
    ):
        host, port = server.url.removeprefix("http://").split(":")
        for _ in range(120):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
        image_id = next(iter(FOUR))
        assert best(server.post(PICTURES[image_id])) == FOUR_DETOKENISED[image_id]
        assert "out of system resource" not in server.stderr


def test_a_killed_server_starts_again_at_its_port(four_bundle):
    image_id = next(iter(FOUR))
    with server_process(four_bundle, "--runtime=litert") as server:
        port = server.url.rpartition(":")[2]
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(server.post, PICTURES[image_id]) for _ in range(40)]
            wait_until(lambda: '"status": 200' in server.stderr)
            server.process.kill()
            for call in calls:
                if not call.exception():
                    assert best(call.result()) == FOUR_DETOKENISED[image_id]
        server.process.wait(30)
        with server_process(four_bundle, "--runtime=litert", f"--port={port}") as again:
            assert best(again.post(PICTURES[image_id])) == FOUR_DETOKENISED[image_id]


def test_what_others_left_in_the_environment_changes_nothing(four_bundle, tmp_path):
    env = hostile_environment(tmp_path, CAPTIONER_TOKEN="Very-Secret")
    image_id = next(iter(FOUR))
    with server_process(four_bundle, "--runtime=litert", env=env) as server:
        assert server.post(PICTURES[image_id]).status_code == 401
        server.http.headers["Authorization"] = "Bearer Very-Secret"
        response = server.post(PICTURES[image_id])
        assert best(response) == FOUR_DETOKENISED[image_id]
        assert "Very-Secret" not in server.stderr + "".join(server.stdout)
        assert "with the token" in server.stdout[-1]


@pytest.mark.slow  # TensorFlow starts.
def test_tensorflow_gives_the_same_captions(four_bundle):
    with server_process(four_bundle, "--runtime=tensorflow", "--max_batch=4") as server:
        with ThreadPoolExecutor(16) as pool:
            numbers = list(FOUR) * 10
            responses = list(pool.map(server.post, (PICTURES[number] for number in numbers)))
        assert list(map(best, responses)) == [FOUR_DETOKENISED[number] for number in numbers]
        log = server.stderr
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        # Nothing of TensorFlow's own log comes between.
        assert all(line.startswith(("{", "loading ")) for line in log.splitlines()), log


@pytest.mark.parametrize(
    ("flags", "code", "problem"),
    [
        ({"bundle": None}, 2, "--bundle is missing"),
        ({"bundle": "/nonexistent"}, 1, "/nonexistent: no bundle here"),
        ({"max_images": 200}, 2, "--max_images=200 is more than --max_queue=128"),
        ({"allow_origin": "*"}, 2, "--allow_origin: expected"),
        ({"port": 65536}, 2, "--port=65536"),
        ({"host": "192.0.2.1"}, 1, "this machine has no such address"),
        ({"runtime": "torch"}, 2, "--runtime=torch"),
        ({"deadline_s": "nan"}, 2, "--deadline_s=nan"),
    ],
)
def test_a_wrong_command_is_one_line(flags, code, problem, four_bundle, capsys):
    assert run_command(command, **({"bundle": four_bundle, "port": 0} | flags)) == code
    assert problem in one_error(capsys)


def test_an_empty_token_is_no_token(four_bundle, capsys, monkeypatch):
    monkeypatch.setenv("CAPTIONER_TOKEN", "")
    assert run_command(command, bundle=four_bundle) == 2
    assert "CAPTIONER_TOKEN is set and empty" in one_error(capsys)


def test_a_damaged_bundle_is_not_served(four_bundle, tmp_path, capsys):
    damaged = tmp_path / "bundle"
    damaged.mkdir()
    for path in sorted(four_bundle.rglob("*")):
        target = damaged / path.relative_to(four_bundle)
        if path.is_dir():
            target.mkdir()
        else:
            target.write_bytes(path.read_bytes())
    model = damaged / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    assert run_command(command, bundle=damaged, port=0) == 1
    assert "model.tflite" in one_error(capsys)


def test_the_port_of_another_user_is_one_line(monkeypatch, four_bundle, capsys):
    def refuse(self: socket.socket, address: tuple[str, int]) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert run_command(command, bundle=four_bundle, port=80) == 1
    assert "ports below 1024 are for root" in one_error(capsys)


def test_the_documents_lines_of_curl_are_what_the_server_takes(lite, tmp_path):
    text = (ROOT / "docs/serving.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("curl ") and "TOKEN" not in line]
    assert len(lines) >= 3
    picture = PICTURES[next(iter(FOUR))]
    for name in ("photo.jpg", "one.jpg", "two.png"):
        (tmp_path / name).write_bytes(picture)
    for line in lines:
        arguments = shlex.split(line.replace("http://localhost:8080", lite.url))
        done = subprocess.run(
            [*arguments, "--silent", "--noproxy", "*"], cwd=tmp_path, capture_output=True
        )
        for image in json.loads(done.stdout)["images"]:
            assert image["captions"][0]["text"] in FOUR_DETOKENISED.values(), line
