"""The answers of the API as its OpenAPI describes them."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from serving.web import bodies


class Error(BaseModel):
    """Why a request or an image has no captions."""

    code: str = Field(description="A short name, for programs.")
    message: str = Field(description="What was expected and what was found, for people.")


class ErrorAnswer(BaseModel):
    """The answer to a request that is refused."""

    error: Error


class Model(BaseModel):
    """Which model captions."""

    name: str
    fingerprint: str


class CaptionAnswer(BaseModel):
    """A caption of an image."""

    text: str
    score: float = Field(description="The logarithm of its probability, by the search's measure.")
    words: list[str]
    attention: list[list[list[float]]] | None = Field(
        None,
        description="Where each word looks: [words, height, width] of the grid, if asked for.",
    )


class ImageAnswer(BaseModel):
    """An image: its captions, the best first, or its error."""

    name: str | None = Field(description="Its file name in the form; null for a raw body.")
    captions: list[CaptionAnswer] | None = None
    error: Error | None = None


class CaptionsAnswer(BaseModel):
    """The answer to images: one entry for each, in their order."""

    model: Model
    images: list[ImageAnswer]
    milliseconds: float


class ModelAnswer(BaseModel):
    """The model and what the server takes."""

    name: str
    fingerprint: str
    runtime: str
    formats: list[str]
    max_image_bytes: int
    max_images: int
    n_best: int
    grid: Annotated[list[int], Field(min_length=2, max_length=2)]
    attends: bool
    token_required: bool


class StateAnswer(BaseModel):
    """Whether the server is alive, or ready."""

    status: str


_CAUSES = {
    400: "The request is malformed, or for a host that is not this machine.",
    401: "The token is missing or wrong.",
    408: "The body took too long to arrive.",
    413: "The body or the image is too large, or there are too many images.",
    415: "The body is not of a type, or the image not of a format, that is read.",
    422: "The image is damaged.",
    429: "The queue is full. The header Retry-After has the seconds to wait.",
    503: "The server is starting or stopping, or failed. Retry-After has the seconds to wait.",
    504: "The deadline passed.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of a route's errors for FastAPI.

    Args:
        statuses: The statuses of the errors. Each route may also answer 400, 413 and 503.
    """
    every = sorted({400, 413, 503, *statuses})
    return {status: {"model": ErrorAnswer, "description": _CAUSES[status]} for status in every}


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILES = {
    "type": "object",
    "properties": {
        "image": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    },
    "required": ["image"],
}
# How the body of a request for captions looks.
REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "description": "One image as the body, or several as the files of a form.",
        "content": {
            **dict.fromkeys(bodies.RAW, _BINARY),
            bodies.FORM: {"schema": _FILES},
        },
    }
}
