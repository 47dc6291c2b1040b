"""The routes of the server."""

import asyncio
import dataclasses
import mimetypes
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from pixels import formats
from serving.bundle.runtime import Caption
from serving.web import answers, bodies, measurements, middleware, refusals
from serving.web.access import Access
from serving.web.captions import Outcome
from serving.web.logs import entry_of
from serving.web.refusals import ClientGoneError, RefusalError
from serving.web.service import Service

_PAGE = Path(__file__).parents[1] / "page"
_CAPTIONS = "/v1/captions"
_PROTECTED = (_CAPTIONS, "/metrics")
_DIGITS = 4  # of attention: more than a picture shows
_HTTP_CODES = {404: "not_found", 405: "method"}
_Result = TypeVar("_Result")


def create_app(service: Service, access: Access) -> FastAPI:
    """Return the application.

    Args:
        service: Captions images.
        access: Who may use it.
    """
    # The interactive documentation of FastAPI loads scripts from elsewhere.
    app = FastAPI(
        title="Image captions",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_middleware(app, service, access)
    app.add_exception_handler(RefusalError, _answer_refusal)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    _add_api(app, service, bool(access.token))
    _add_state(app, service)
    _add_page(app)
    return app


def _add_middleware(app: FastAPI, service: Service, access: Access) -> None:
    """Add what wraps every route. The last that is added is the outermost."""
    counts = service.measurements
    app.add_middleware(middleware.HeadAsGet)
    app.add_middleware(middleware.BodyLimit, most=service.limits.request_bytes, measurements=counts)
    if access.token:
        app.add_middleware(middleware.TokenRequired, token=access.token, paths=_PROTECTED)
    if access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    if access.local_only:
        app.add_middleware(middleware.LocalHostOnly)
    app.add_middleware(middleware.RequestLog, measurements=counts)


def _add_api(app: FastAPI, service: Service, token_required: bool) -> None:
    @app.post(
        _CAPTIONS,
        summary="Caption one image or several",
        response_model=answers.CaptionsAnswer,
        responses=answers.errors(401, 408, 413, 415, 422, 429, 504),
        openapi_extra=answers.REQUEST_BODY,
    )
    async def caption(
        request: Request,
        attention: Annotated[bool, Query(description="Whether to return attention.")] = False,
    ) -> Response:
        entry = entry_of(request.scope)
        with service.accept():
            uploads = await bodies.read(request, service.limits.images)
            entry.images = len(uploads)
            images = [upload.content for upload in uploads]
            outcomes = await _unless_gone(request, service.captioner.caption(images))
        if uploads[0].name is None and isinstance(outcomes[0], RefusalError):
            raise outcomes[0]
        named = zip(uploads, outcomes, strict=True)
        content = {
            "model": {"name": service.model.name, "fingerprint": service.model.fingerprint},
            "images": [_to_json(upload.name, outcome, attention) for upload, outcome in named],
            "milliseconds": entry.milliseconds(),
        }
        for outcome in outcomes:
            if isinstance(outcome, RefusalError):
                service.measurements.count_rejection(outcome.code)
        return JSONResponse(content)

    @app.get(
        "/v1/model",
        summary="The model, and what the server takes",
        response_model=answers.ModelAnswer,
        responses=answers.errors(),
    )
    async def model() -> Response:
        service.refuse_unless_loaded()
        facts = dataclasses.asdict(service.model)
        return JSONResponse(
            facts
            | {
                "runtime": service.runtime_name,
                "formats": list(formats.Format),
                "max_image_bytes": service.limits.image_bytes,
                "max_images": service.limits.images,
                "token_required": token_required,
            }
        )


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get(
        "/healthz",
        summary="Whether the process answers",
        response_model=answers.StateAnswer,
        responses=answers.errors(),
    )
    async def health() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get(
        "/readyz",
        summary="Whether captions can be had now",
        response_model=answers.StateAnswer,
        responses=answers.errors(),
    )
    async def readiness() -> Response:
        service.refuse_unless_ready()
        return JSONResponse({"status": "ready"})

    @app.get(
        "/metrics",
        summary="Measurements for Prometheus",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **answers.errors(401),
        },
    )
    async def metrics() -> Response:
        return Response(service.measurements.to_text(), media_type=measurements.CONTENT_TYPE)


def _add_page(app: FastAPI) -> None:
    """Serve the files of the page, which are read once: nothing else on the disk can be asked."""
    for path in sorted(_PAGE.iterdir()):
        if path.suffix not in (".html", ".css", ".js", ".svg"):
            continue
        for route in (f"/{path.name}", *(("/",) if path.name == "index.html" else ())):
            app.add_api_route(route, _serve_file(path), include_in_schema=False)


def _serve_file(path: Path) -> Any:
    kinds = {".js": "text/javascript"}  # The registry of the machine may say otherwise.
    kind = kinds.get(path.suffix) or mimetypes.types_map[path.suffix]
    response = Response(path.read_bytes(), media_type=kind, headers={"Cache-Control": "no-cache"})

    async def serve() -> Response:
        return response

    return serve


def _to_json(name: str | None, outcome: Outcome, attention: bool) -> dict[str, Any]:
    if isinstance(outcome, RefusalError):
        return {"name": name, "error": outcome.to_json()}
    return {"name": name, "captions": [_caption_to_json(each, attention) for each in outcome]}


def _caption_to_json(caption: Caption, attention: bool) -> dict[str, Any]:
    content: dict[str, Any] = {
        "text": caption.text,
        "score": float(caption.score),
        "words": list(caption.words),
    }
    if attention and caption.attention is not None:
        content["attention"] = np.round(caption.attention.astype(float), _DIGITS).tolist()
    return content


async def _unless_gone(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return the result of work, or cancel it when the client closes the connection."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGoneError
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _answer_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    entry_of(request.scope).reason = error.code
    return refusals.to_response(error)


async def _answer_http(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    messages = {
        404: "there is nothing here; /openapi.json lists what there is",
        405: f"{request.method} is not taken here; /openapi.json lists what is",
    }
    message = messages.get(error.status_code, str(error.detail))
    code = _HTTP_CODES.get(error.status_code, "malformed")
    headers = dict(error.headers or {})
    refusal = RefusalError(error.status_code, code, message, headers=headers)
    return await _answer_refusal(request, refusal)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    """Answer a query that is not what the API describes."""
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    place = problem["loc"][-1]
    message = f"{place}: {problem['msg']}, found {str(problem.get('input'))[:100]!r}"
    return await _answer_refusal(request, RefusalError(400, "malformed", message))
