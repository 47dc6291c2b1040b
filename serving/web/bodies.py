"""From the body of a request to image files: the body itself, or the parts of a form.

Everything stays in memory, which `serving/web/middleware.py` bounds.
"""

from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from serving.web import limits
from serving.web.refusals import ClientGoneError, RefusalError

FORM = "multipart/form-data"
RAW = ("application/octet-stream", "image/*")
_OF_CURL = "application/x-www-form-urlencoded"
_EXPECTED = (
    "expected an image as the body, with Content-Type image/* or application/octet-stream, or"
    " multipart/form-data with image files"
)


class Upload(NamedTuple):
    """An image file of a request.

    Attributes:
        name: Its file name in a form; None where the image is the body.
        content: Its bytes.
    """

    name: str | None
    content: bytes


async def read(request: Request, most: int) -> list[Upload]:
    """Read the image files of a request.

    Args:
        request: Its body has not been read.
        most: How many images it may have.

    Raises:
        RefusalError: The body is not what it should be, or too much.
        ClientGoneError: The client closed the connection.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    media_type = kind.decode("latin-1")
    is_form = media_type == FORM
    raw = media_type == "" or media_type == RAW[0] or media_type.startswith("image/")
    if not (is_form or raw):
        hint = " (curl sends that unless told otherwise by -H)" if media_type == _OF_CURL else ""
        found = f"{media_type[:100]!r}{hint}"
        raise RefusalError(415, "content_type", f"{_EXPECTED}; found {found}")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        found = f"found Content-Encoding {encoding[:100]!r}"
        raise RefusalError(415, "content_encoding", f"expected a body as it is, {found}")
    try:
        if is_form:
            return await _read_form(request, options.get(b"boundary", b""), most)
        return [Upload(None, b"".join([chunk async for chunk in request.stream()]))]
    except ClientDisconnect:
        raise ClientGoneError from None


async def _read_form(request: Request, boundary: bytes, most: int) -> list[Upload]:
    form = _Form(most)
    try:
        if not boundary:
            raise FormParserError("its Content-Type has no boundary")
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin,
                "on_header_field": form.add_header_name,
                "on_header_value": form.add_header_value,
                "on_header_end": form.end_header,
                "on_headers_finished": form.end_headers,
                "on_part_data": form.add_content,
                "on_part_end": form.end,
                "on_end": form.finish,
            },
            max_header_count=limits.MAX_PART_HEADERS,
            max_header_size=limits.MAX_PART_HEADER_BYTES,
        )
        async for chunk in request.stream():
            parser.write(chunk)
        if not form.finished:
            raise FormParserError("it ends before its last boundary")
    except FormParserError as error:
        raise _malformed(str(error)) from None
    if not form.uploads:
        raise _malformed("it has no files")
    return form.uploads


def _malformed(problem: str) -> RefusalError:
    expected = "expected a form (multipart/form-data) with image files"
    return RefusalError(400, "malformed", f"{expected}: {problem}")


class _Form:
    """Collects the files of a form while the parser reads it.

    Args:
        most: How many files it may have.
    """

    def __init__(self, most: int):
        self.uploads: list[Upload] = []
        self.finished = False
        self._most = most

    def begin(self) -> None:
        if len(self.uploads) == self._most:
            message = f"expected at most {self._most} images in a request, found more"
            raise RefusalError(413, "too_many_images", message)
        self._name, self._header, self._value = "", b"", b""
        self._disposition = b""
        self._content = bytearray()

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            field = options.get(b"name", b"").decode("utf-8", "replace")[: limits.MAX_NAME]
            raise FormParserError(f"its part {field!r} is no file (it has no file name)")
        self._name = options[b"filename"].decode("utf-8", "replace")[: limits.MAX_NAME]

    def add_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def end(self) -> None:
        self.uploads.append(Upload(self._name, bytes(self._content)))
        self._content = bytearray()

    def finish(self) -> None:
        self.finished = True
