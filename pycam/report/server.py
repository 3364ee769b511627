"""The viewer as a web page at 127.0.0.1, for one person: a model predicts the images that are dropped on it.

An image is the body of a request and is decoded in memory: there are no temporary files, and no path is made from a
name. A bad request is refused with a message of one line that reveals nothing about the machine. Nobody is waited for
without a limit: neither a connection without a request, nor an upload, nor a prediction, nor the end.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from pycam.errors import ImageError, UsageError
from pycam.images.read import read_image
from pycam.predict import Cam
from pycam.report.connections import Limits, print_problem
from pycam.report.page import json_block, page
from pycam.report.viewer_data import Entry, classes_record, image_record
from pycam.variants import Variants
from pycam.zoo.labels import Labels

T = TypeVar("T")

FAILED = "the prediction failed; the server's terminal shows the reason"
HOSTS = ["127.0.0.1", "localhost"]
"""Accepted names of the host, so that no other site can reach the server under its own name."""


def application(models: Mapping[str, Callable[[], Sequence[Cam]]], limits: Limits = Limits()) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    models : mapping
        Name -> function that makes the model ready, once per method and layer; called at the first request for the
        model. The first model is the default of the page.
    limits : Limits, optional
        Limits on requests.

    Returns
    -------
    FastAPI
        `GET /` returns the page. `POST /predict?model=NAME`, with the bytes of an image as its body and an image type,
        returns `pycam.report.viewer_data.image_record` and the names of all classes; several `model=NAME` are shown
        side by side, and `class=NAME`, once or more, replaces the best classes. `GET /healthz` shows that the server
        runs. Errors are `{"error": "one line"}`.
    """
    ready: dict[str, Sequence[Cam]] = {}
    places = asyncio.Semaphore(limits.waiting + 1)
    # One thread predicts one image at a time, and makes no model twice.
    worker = ThreadPoolExecutor(1, "pycam-forward")

    def close() -> None:
        for cam in itertools.chain(*ready.values()):
            cam.close()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        # Behind the running prediction; whoever waits for it does so with a limit.
        worker.submit(close)
        worker.shutdown(wait=False)

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_OwnOrigin, limits=limits)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
    begin, end = page("pycam", "desk.css", "desk.js", "serve.js", answers="'self'")
    facts = {"models": list(models), "upload": limits.upload, "pixels": limits.pixels}
    markup = begin + json_block("server", facts) + end

    @app.get("/")
    async def index() -> HTMLResponse:
        return HTMLResponse(markup, headers={"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"})

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/predict")
    async def predict(
        request: Request,
        model: Annotated[list[str], Query()],
        chosen: Annotated[list[str] | None, Query(alias="class")] = None,
        name: str = "",
    ) -> dict[str, Any]:
        if not models.keys() >= {*model}:
            raise Unread(404, f"unknown model; the models are {', '.join(models)}")
        kind = request.headers.get("content-type", "")
        # The page of another site must ask before it may send these types, and the server never agrees.
        if not kind.startswith("image/") and kind != "application/octet-stream":
            raise Unread(415, "the type is not that of an image; send the bytes of an image/…")
        if places.locked():
            raise Unread(429, "too many images at the same time; try again in a second", {"Retry-After": "1"})
        async with places:
            upload = _body(request, limits, places.locked)
            data = await _within(limits.upload_seconds, upload, Unread(408, "the upload took too long"))
            prediction = asyncio.get_running_loop().run_in_executor(
                worker, answer, [*dict.fromkeys(model)], chosen, data, name
            )
            too_long = HTTPException(503, "the prediction took too long; try a smaller image")
            return await _within(limits.answer_seconds, prediction, too_long)

    def answer(names: Sequence[str], chosen: Sequence[str] | None, data: bytes, file: str) -> dict[str, Any]:
        try:
            for name in names:
                if name not in ready:
                    ready[name] = models[name]()
            variants = beside(names)
            first = variants.variants[0].cam
            labels = first.model.labels
            classes = None if chosen is None else [index_of(each, labels) for each in chosen]
            image = read_image(data, limits.pixels, first.model.channels, exif=first.protocol.exif)
            record = image_record(Entry.of(file, image, variants(image, classes=classes)))
            return record | {"classes": classes_record(labels)}
        except ImageError as error:
            raise HTTPException(422, " ".join(str(error).split())) from None
        except HTTPException:
            raise
        except Exception as error:
            print_problem(f"{', '.join(names)}: the prediction failed", error)
            raise HTTPException(500, FAILED) from None

    def beside(names: Sequence[str]) -> Variants:
        try:
            return Variants.of([cam for name in names for cam in ready[name]])
        except UsageError as error:  # it names models and classes, and no files
            raise HTTPException(422, str(error)) from None

    def index_of(name: str, labels: Labels) -> int:
        try:
            return labels.find(name)
        except UsageError:  # its message names the file of the labels
            raise HTTPException(422, f"no class, or several, have the name {name[:100]!r}; give an index") from None

    @app.exception_handler(AnyHTTPException)
    async def refuse(request: Request, error: AnyHTTPException) -> Response:
        answer = {"error": error.detail}, error.status_code, error.headers
        if isinstance(error, Unread):
            return _EarlyResponse(*answer, limits=limits)
        return JSONResponse(*answer)

    @app.exception_handler(RequestValidationError)
    async def refuse_form(request: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"error": "name a model, as in /predict?model=NAME"}, 422)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": FAILED}, 500)

    return app


class Unread(HTTPException):
    """A request that is refused before its image is read."""


class _EarlyResponse(JSONResponse):
    """A response during an upload. It is sent at once; then the rest of the upload is discarded for a while.

    Otherwise the system would reset the connection, and a client that reads only after it has sent would lose the
    response.
    """

    def __init__(self, *arguments: Any, limits: Limits) -> None:
        super().__init__(*arguments)
        self._limits = limits
        self.headers["Connection"] = "close"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._discard(receive), self._limits.upload_seconds)
        await send({"type": "http.response.body", "body": b""})

    async def _discard(self, receive: Receive) -> None:
        while (await asyncio.wait_for(receive(), self._limits.idle_seconds)).get("more_body", False):
            pass


class _OwnOrigin:
    """Refuse what the page of another origin requests; browsers say so in each request."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and _is_foreign(Headers(scope=scope)):
            app = _EarlyResponse({"error": "this server answers its own page only"}, 403, limits=self._limits)
        await app(scope, receive, send)


def _is_foreign(headers: Headers) -> bool:
    # The name of the host has been checked. The port is the client's: a tunnel may have another one.
    if any(origin != f"http://{headers.get('host')}" for origin in headers.getlist("origin")):
        return True
    # Images and scripts of other pages have no origin. A link on another page may lead here.
    site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
    return site in ("same-site", "cross-site") and mode != "navigate"


async def _within(seconds: float, work: Awaitable[T], refusal: HTTPException) -> T:
    try:
        return await asyncio.wait_for(work, seconds)
    except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
        raise refusal from None


async def _body(request: Request, limits: Limits, is_crowded: Callable[[], bool]) -> bytes:
    """Read the body of a request, up to the allowed size. An upload that pauses makes way for others."""
    too_large = Unread(413, f"more than {limits.upload / 10**6:g} MB; send a smaller image")
    if int(request.headers.get("content-length", 0)) > limits.upload:
        raise too_large
    data = bytearray()
    pause = 0
    while True:
        try:
            message = await asyncio.wait_for(request.receive(), 1)
        except (TimeoutError, asyncio.TimeoutError):
            pause += 1
            if pause >= limits.idle_seconds or is_crowded():
                raise Unread(408, "the upload paused for too long") from None
            continue
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "the upload ended too early")
        pause = 0
        data += message.get("body", b"")
        if len(data) > limits.upload:
            raise too_large
        if not message.get("more_body", False):
            return bytes(data)
