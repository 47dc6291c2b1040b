"""A stand-in for the server: the page's files, and whatever answers a test wants the page to meet.

It captions nothing. Each word "looks" at the reddest place of the upright picture, so that a test
can tell whether the page shows the heat where it belongs.
"""

import io
import json
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tests.support.commands import ROOT

PAGE = ROOT / "serving" / "page"
GRID = 7
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
MODEL: dict[str, Any] = {
    "name": "scenes",
    "fingerprint": "5eed" * 16,
    "runtime": "litert",
    "formats": ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "HEIC", "AVIF"],
    "max_image_bytes": 20_000_000,
    "max_images": 16,
    "n_best": 3,
    "grid": [GRID, GRID],
    "attends": True,
    "token_required": False,
}
CAPTIONS = (
    ("a large red circle above a small blue square", -0.31),
    ("a red circle and a blue square", -0.58),
    ("a large red circle", -0.92),
)


class Reply(NamedTuple):
    """An HTTP answer: a body that is no `bytes` is sent as JSON; `cut` breaks the connection."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = MappingProxyType({})
    cut: bool = False


def error(status: int, message: str = "", **headers: str) -> Reply:
    """Return the answer to a picture that gets no caption."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"code": f"code_{status}", "message": message}}, named)


def reddest(data: bytes) -> np.ndarray:
    """Return a grid [GRID, GRID] that is 1 at the reddest cell of an upright picture, else 0."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    cells = np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX), np.float32)
    red = cells[..., 0] - cells[..., 1:].max(-1)
    return (red == red.max()).astype(float)


class StandIn:
    """A server on loopback, used as a context.

    Attributes:
        model: The answer of /v1/model.
        captions: (text, score) of each caption, or (text, score, words).
        token: What a request must bear, or "".
        replies: Answers to the next pictures, before those that are captioned.
        gate: While it is not set, pictures wait for their answer.
        received: (headers, body) of each picture that came.
        most_at_once: The most pictures that were here at one time.
    """

    def __init__(self) -> None:
        self.model = dict(MODEL)
        self.captions: Sequence[tuple] = CAPTIONS
        self.token = ""
        self.replies: deque[Reply] = deque()
        self.gate = threading.Event()
        self.gate.set()
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.most_at_once = 0
        self._here = 0
        self._lock = threading.Lock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> "StandIn":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def start(self) -> None:
        """Start, at the same address as before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop, as if the server was killed."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, headers: dict[str, str], body: bytes) -> Reply:
        """Return the answer to one picture."""
        with self._lock:
            self.received.append((headers, body))
            self._here += 1
            self.most_at_once = max(self.most_at_once, self._here)
        try:
            self.gate.wait()
            if self.token and headers.get("authorization") != f"Bearer {self.token}":
                return error(401, "a token is needed")
            with self._lock:
                planned = self.replies.popleft() if self.replies else None
            return planned or self._caption(body)
        finally:
            with self._lock:
                self._here -= 1

    def _caption(self, body: bytes) -> Reply:
        try:
            grid = reddest(body)
        except UnidentifiedImageError:
            return error(415, "expected an image, found bytes of no known format")
        except OSError as broken:
            return error(422, str(broken))
        captions = []
        for text, score, *words in self.captions:
            caption = {"text": text, "score": score, "words": words[0] if words else text.split()}
            if self.model["attends"]:
                # The first word looks everywhere alike.
                looks = [np.full_like(grid, 1 / grid.size)] + [grid] * len(caption["words"])
                caption["attention"] = [look.tolist() for look in looks[: len(caption["words"])]]
            captions.append(caption)
        model = {name: self.model[name] for name in ("name", "fingerprint")}
        images = [{"name": None, "captions": captions}]
        return Reply(200, {"model": model, "images": images, "milliseconds": 12.3})


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    """Return the class of the requests to this stand-in."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.partition("?")[0].lstrip("/") or "index.html"
            file = PAGE / name
            if name in ("v1/model", "readyz"):
                self._send(Reply(200, stand_in.model))
            elif file.parent == PAGE and file.is_file():
                self._send(Reply(200, file.read_bytes(), {"Content-Type": TYPES[file.suffix]}))
            else:
                self._send(error(404, "not here"))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._send(stand_in.answer(headers, body))

        def _send(self, reply: Reply) -> None:
            if reply.cut:
                self.close_connection = True
                return
            raw = isinstance(reply.body, bytes)
            body = reply.body if raw else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            headers = {"Content-Type": "application/json", "Content-Security-Policy": POLICY}
            for name, value in {**headers, **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
