"""The systemd unit and the Dockerfile, as far as they can be checked without either."""

import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from cli import command, flags
from serving import server
from tests.support.commands import ROOT

UNIT = ROOT / "deploy" / "captioner.service"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", "")
# 0 is safest, 100 means no protection.
MOST_EXPOSED = 15


def unit_values(key: str) -> list[str]:
    lines = UNIT.read_text().splitlines()
    return [line.removeprefix(f"{key}=") for line in lines if line.startswith(f"{key}=")]


def instruction(name: str) -> list[str]:
    """Return the words of the last instruction of the Dockerfile with a name."""
    return json.loads(re.findall(rf"^ *{name} .*?(\[.*\])$", DOCKERFILE, re.MULTILINE)[-1])


def options_of(argv: list[str]) -> server.ServerOptions:
    """Return the options of a command line `PYTHON ... -m serving.server FLAGS`."""
    assert argv[argv.index("-m") + 1] == "serving.server"
    values, others = command.parse(argv[argv.index("-m") + 1 :], server.define_flags)
    assert not others
    return flags.read(server.ServerOptions, values)


def test_the_unit_starts_the_server_on_this_machine_alone():
    (start,) = unit_values("ExecStart")
    options = options_of(shlex.split(start))
    assert options.host == "127.0.0.1" and options.bundle and options.runtime == "litert"
    assert unit_values("EnvironmentFile") and unit_values("IPAddressDeny") == ["any"]
    assert unit_values("Restart") == ["on-failure"]
    (stop,) = unit_values("TimeoutStopSec")
    assert int(stop.removesuffix("s")) > options.deadline_s


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_understands_the_unit_and_finds_it_hardened(tmp_path):
    unit = tmp_path / "captioner.service"
    unit.write_text(UNIT.read_text().replace("/opt/captioner/bin/python", sys.executable))
    for options in (["verify"], ["security", "--offline=true", f"--threshold={MOST_EXPOSED}"]):
        done = subprocess.run(
            ["systemd-analyze", *options, str(unit)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "captioner.service:" not in done.stderr  # a line that it ignores


def test_the_container_starts_the_server():
    options = options_of(instruction("ENTRYPOINT") + instruction("CMD"))
    assert (options.host, options.port, options.bundle) == ("0.0.0.0", 8080, "/bundle")
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)


def test_the_server_needs_no_more_rooms_than_the_image_has(tmp_path):
    rooms = re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE)
    for room in rooms:
        shutil.copytree(ROOT / room, tmp_path / room)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import serving.server as s;"
        "print(s.__file__); import serving.bundle.lite_runtime"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{tmp_path}/serving/server.py\n"
    assert rooms


@pytest.fixture
def status() -> Iterator[tuple[list[int], int]]:
    """A server with a status that a test sets, and its port."""
    current = [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(current[0] if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield current, httpd.server_port
        httpd.shutdown()


def test_the_container_is_healthy_while_the_server_is_ready(status):
    current, port = status
    _, *arguments = instruction("HEALTHCHECK")
    argv = [sys.executable, *(part.replace(":8080/", f":{port}/") for part in arguments)]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
    current[0] = 503
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 1
