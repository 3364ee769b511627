"""The viewer on a page at 127.0.0.1: images are dropped on it, a model looks at them. Made for one person.

An image comes as the body of a request and is decoded in memory: there are no temporary files, and no path is ever
made from a name. What is not fit to be looked at is refused in one line that tells nothing of the machine.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from pycam.errors import ImageError
from pycam.images.read import read_image
from pycam.predict import Cam
from pycam.report.page import json_block, page
from pycam.report.record import image_record, predict_by_methods

T = TypeVar("T")

HOSTS = ["127.0.0.1", "localhost"]
"""What the page may be called by, so that no other site can pass for it by a name of its own."""


@dataclass(frozen=True)
class Limits:
    """What is refused.

    Attributes
    ----------
    upload
        Bytes of an image's file.
    pixels
        Of an image.
    upload_seconds, answer_seconds
        How long an image may take to come, and to be looked at.
    waiting
        How many images may wait while one is looked at.
    """

    upload: int = 20_000_000
    pixels: int = 40_000_000
    upload_seconds: float = 30
    answer_seconds: float = 60
    waiting: int = 16


def application(models: Mapping[str, Callable[[], Sequence[Cam]]], limits: Limits | None = None) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    models
        Name -> what makes the model ready, once for each method, called when it is first asked for. The first model is
        the page's default.
    limits
        What is refused.

    Returns
    -------
    FastAPI
        `GET /` is the page. `POST /predict?model=NAME`, with an image's bytes as its body and an image type, answers
        with what `pycam.report.record.image_record` tells. `GET /healthz` answers while the server lives. Errors
        are `{"error": "one line"}`.
    """
    limits = limits or Limits()
    ready: dict[str, Sequence[Cam]] = {}
    line = _Line(limits.waiting + 1)
    # One thread: one image at a time, and no model is made twice.
    worker = ThreadPoolExecutor(1, "pycam-forward")

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        worker.shutdown(cancel_futures=True)
        for cam in itertools.chain(*ready.values()):
            cam.close()

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
    begin, end = page("pycam", "serve.js", answers="'self'")
    facts = {"models": list(models), "upload": limits.upload, "pixels": limits.pixels}
    markup = begin + json_block("server", facts) + end

    @app.get("/")
    async def index() -> HTMLResponse:
        return HTMLResponse(markup, headers={"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"})

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/predict")
    async def predict(request: Request, model: str, name: str = "") -> dict[str, Any]:
        if model not in models:
            raise Unread(404, f"no such model here; there are {', '.join(models)}")
        kind = request.headers.get("content-type", "")
        # Other sites' pages cannot send these types without asking first, and nobody answers them.
        if not kind.startswith("image/") and kind != "application/octet-stream":
            raise Unread(415, "not an image by its type: send the bytes of an image/…")
        async with line.place():
            coming = _body(request, limits.upload)
            data = await _within(limits.upload_seconds, coming, Unread(408, "the image came too slowly"))
            looking = asyncio.get_running_loop().run_in_executor(worker, answer, model, data, name)
            too_long = HTTPException(503, "the model took too long: try a smaller image")
            return await _within(limits.answer_seconds, looking, too_long)

    def answer(model: str, data: bytes, name: str) -> dict[str, Any]:
        try:
            image = read_image(data, limits.pixels)
        except ImageError as error:
            raise HTTPException(422, " ".join(str(error).split())) from None
        if model not in ready:
            ready[model] = models[model]()
        return image_record(image, {"": predict_by_methods(ready[model], image)}, name=name)

    @app.exception_handler(AnyHTTPException)
    async def refuse(request: Request, error: AnyHTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(Unread)
    async def refuse_unread(request: Request, error: Unread) -> Response:
        return _EarlyResponse({"error": error.detail}, error.status_code, error.headers, patience=limits.upload_seconds)

    @app.exception_handler(RequestValidationError)
    async def refuse_form(request: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"error": "name a model, as in /predict?model=NAME"}, 422)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "the image could not be looked at; the server's terminal says why"}, 500)

    return app


class Unread(HTTPException):
    """A request that is refused while its image is still coming."""


class _EarlyResponse(JSONResponse):
    """An answer to what is still being sent. It is given at once, then the rest is let run into nothing for a while.

    Otherwise the system would reset the connection, and whoever sends before he listens would lose the answer.
    """

    def __init__(self, *arguments: Any, patience: float) -> None:
        super().__init__(*arguments)
        self._patience = patience
        self.headers["Connection"] = "close"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._discard(receive), self._patience)
        await send({"type": "http.response.body", "body": b""})

    async def _discard(self, receive: Receive) -> None:
        while (await receive()).get("more_body", False):
            pass


class _Line:
    """Who is being served or waits for it; who comes when all places are taken is turned away."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        if self._taken == self._places:
            raise Unread(429, "too many images at a time: try again in a second", {"Retry-After": "1"})
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


async def _within(seconds: float, work: Awaitable[T], refusal: HTTPException) -> T:
    try:
        return await asyncio.wait_for(work, seconds)
    except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
        raise refusal from None


async def _body(request: Request, largest: int) -> bytes:
    """Read what was sent, and no more of it than may be."""
    too_large = Unread(413, f"more than {largest / 10**6:g} MB: send a smaller image")
    if int(request.headers.get("content-length", 0)) > largest:
        raise too_large
    data = bytearray()
    try:
        async for piece in request.stream():
            data += piece
            if len(data) > largest:
                raise too_large
    except ClientDisconnect:
        raise HTTPException(400, "the image did not come whole") from None
    return bytes(data)
