"""A web server on loopback that fails on demand, and a tiny COCO 2017 to download from it."""

import dataclasses
import hashlib
import io
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipeline.download.archives import Archive
from tests.support.records import CocoFolder


@dataclasses.dataclass
class Fault:
    """What goes wrong with one request.

    Attributes:
        status: The status of an answer without the file; 0 sends the file.
        headers: More headers of the answer.
        cut: How many bytes of the body are sent; None sends all.
        hold: Keep the connection open after them instead of closing it.
        whole: Answer with the whole file, whatever range was asked for.
        blind: Answer with the range that was asked for, whatever If-Range says.
        bare: Send neither length nor version.
    """

    status: int = 0
    headers: dict = dataclasses.field(default_factory=dict)
    cut: int | None = None
    hold: bool = False
    whole: bool = False
    blind: bool = False
    bare: bool = False


class Server(ThreadingHTTPServer):
    """A server of files with ranges and versions, as S3 answers. Use it as a context manager.

    Attributes:
        files: Path -> content.
        faults: What goes wrong with the next requests, one fault each.
        asked: (path, Range, If-Range) of every request so far.
        sent: The number of bytes of all bodies so far.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.sent = 0
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        wanted, if_range = self.headers["Range"], self.headers["If-Range"]
        self.server.asked.append((self.path, wanted, if_range))
        fault = self.server.faults.pop(0) if self.server.faults else Fault()
        content = self.server.files.get(self.path)
        if content is None or fault.status:
            self._head(fault.status or 404, {"Content-Length": "0"} | fault.headers)
            return
        version = f'"{hashlib.md5(content).hexdigest()}"'
        span = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        if fault.whole or (if_range not in (None, version) and not fault.blind):
            span = None
        first = int(span[1]) if span else 0
        body = content[first:]
        headers = {"Content-Length": str(len(body)), "ETag": version}
        if span:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._head(206 if span else 200, {} if fault.bare else headers | fault.headers)
        body = body[: fault.cut]
        self.server.sent += len(body)
        self.wfile.write(body)
        if fault.hold:
            self.server.released.wait()

    def _head(self, status: int, headers: dict) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


def zipped(members: dict[str, bytes]) -> bytes:
    """Return a zip of files: name -> content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def published(path: str, content: bytes, holds: dict[str, int], unpacked: int = 0) -> Archive:
    """Return `content` as an archive of the table."""
    digest = hashlib.sha256(content).hexdigest()
    return Archive("http://published.invalid", path, len(content), digest, unpacked, holds)


def tiny_coco(folder: Path) -> tuple[CocoFolder, dict[str, bytes], tuple[Archive, ...]]:
    """Return (COCO 2017 in small, path on a server -> zip, the archives of the table)."""
    coco = CocoFolder(folder)

    def content(name: str) -> bytes:
        paths = sorted((folder / name).iterdir())
        return zipped({f"{name}/{path.name}": path.read_bytes() for path in paths})

    zips = {
        "/zips/val2017.zip": content("val2017"),
        "/zips/train2017.zip": content("train2017"),
        "/annotations/annotations_trainval2017.zip": content("annotations"),
    }
    captions = {f"annotations/captions_{split}2017.json": 1 for split in ("train", "val")}
    holds = ({"val2017": 6}, {"train2017": 12}, captions)
    archives = [published(p[1:], z, h) for (p, z), h in zip(zips.items(), holds, strict=True)]
    return coco, zips, tuple(archives)
