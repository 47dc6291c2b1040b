"""The server as a process of its own, with a real bundle."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from tests.support.commands import ROOT, users_environment

COMMAND = ("-m", "serving.server")


class ServerProcess:
    """A server that is ready.

    Attributes:
        url: Where it listens.
        process: The process.
        stdout: What it printed when it was ready, a line each.
        http: An HTTP client of it.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path):
        self.process, self._log = process, log
        assert process.stdout is not None
        self.stdout = [process.stdout.readline() for _ in range(4)]
        assert self.stdout[0].startswith("http://"), self.stderr
        self.url = self.stdout[0].split()[0].rstrip("/")
        # A client for all requests: each new one reads the certificates of the machine.
        self.http = httpx.Client(base_url=self.url, trust_env=False, verify=False, timeout=60)

    @property
    def stderr(self) -> str:
        """What it has logged so far."""
        return self._log.read_text()

    def post(self, content: bytes, **params: str) -> httpx.Response:
        """Post one image. Several threads may."""
        return self.http.post("/v1/captions", content=content, params=params)

    def resident_bytes(self) -> int:
        """Return how much memory the process has."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096


def start_process(
    bundle: Path | str,
    log: Path,
    *flags: str,
    env: Mapping[str, str] | None = None,
    program: tuple[str, ...] = COMMAND,
) -> subprocess.Popen[str]:
    """Start the command; its log goes into a file.

    Args:
        bundle: The bundle that it serves.
        log: Where stderr goes.
        flags: More flags; a free port is one by default.
        env: Its environment.
        program: What Python runs.
    """
    command = [sys.executable, *program, f"--bundle={bundle}", "--port=0", *flags]
    with log.open("w") as stderr:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=env or users_environment(),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )


@contextlib.contextmanager
def server_process(
    bundle: Path | str,
    *flags: str,
    env: Mapping[str, str] | None = None,
    program: tuple[str, ...] = COMMAND,
) -> Iterator[ServerProcess]:
    """Run a server until the block ends.

    Args:
        bundle: The bundle that it serves.
        flags: More flags.
        env: Its environment.
        program: What Python runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = start_process(bundle, Path(folder) / "log", *flags, env=env, program=program)
        try:
            yield ServerProcess(process, Path(folder) / "log")
        finally:
            process.kill()
            process.communicate()
