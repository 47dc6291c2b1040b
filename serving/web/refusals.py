"""Requests and images that are refused: their status, code and message."""

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from pixels.formats import BadImageError
from serving.web import limits
from serving.web.logs import entry_of

# The reasons of `BadImageError`, and the status of a request whose only image it is.
_IMAGE_STATUS = {
    "empty_file": 400,
    "unknown_format": 415,
    "heif_not_installed": 415,
    "too_large": 413,
}
DAMAGED = 422


class RefusalError(Exception):
    """A request, or an image of one, that gets no captions.

    Args:
        status: The HTTP status.
        code: A short name of the reason, for programs.
        message: What was expected and what was found, for people.
        retry: Whether the same request may succeed later.
        headers: More headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry: bool = False,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})
        if retry:
            self.headers["Retry-After"] = str(limits.RETRY_SECONDS)

    def to_json(self) -> dict[str, str]:
        """Return the reason as answers have it."""
        return {"code": self.code, "message": self.message}


class ClientGoneError(Exception):
    """The client closed the connection before its answer was ready."""


async def answer(refusal: RefusalError, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a refusal as the answer to a request, and let its log line name the reason."""
    entry_of(scope).reason = refusal.code
    await to_response(refusal)(scope, receive, send)


def to_response(refusal: RefusalError) -> JSONResponse:
    """Return the answer to a refused request."""
    content = {"error": refusal.to_json()}
    return JSONResponse(content, status_code=refusal.status, headers=refusal.headers)


def of_image(error: BadImageError) -> RefusalError:
    """Return the refusal of an image that cannot be read."""
    reason = str(error.reason)
    return RefusalError(_IMAGE_STATUS.get(reason, DAMAGED), reason, str(error))


def draining() -> RefusalError:
    """Return the refusal of a server that is about to stop."""
    message = "this server is stopping and takes no more requests; try again"
    return RefusalError(503, "draining", message, retry=True, headers={"Connection": "close"})


def not_ready() -> RefusalError:
    """Return the refusal of a server that is still starting."""
    return RefusalError(503, "not_ready", "this server is still starting; try again", retry=True)


def failed() -> RefusalError:
    """Return the refusal for a failure that is not the client's; the log has its traceback."""
    message = "the server could not caption this; its log says why"
    return RefusalError(503, "failed", message, retry=True)


def queue_full(waiting: int, most: int) -> RefusalError:
    """Return the refusal of images that find no place in the queue."""
    message = f"{waiting} images are waiting, of at most {most}; try again"
    return RefusalError(429, "queue_full", message, retry=True)
