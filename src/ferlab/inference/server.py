"""The demo page and its JSON endpoint: one picture in, what the model says out; bounded in every direction."""

import asyncio
import io
import json
import secrets
import socket
import time
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferlab.errors import UserError
from ferlab.imaging.codec import HEADER_ERRORS, IMAGE_SUFFIXES, MAGICS
from ferlab.inference.answers import PictureAnswer
from ferlab.inference.predictor import Predictor

PAGE = Path(__file__).with_name("page.html")
NONCE = "NONCE"
"""Stands in the page where each answer has a new one."""
HERE = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine that a browser asks for."""
IMAGE_TYPES = ("image/jpeg", "image/png", "image/bmp", "image/tiff", "application/octet-stream")
MOST_CONNECTIONS = 256
"""Open at a time; others are turned away at once."""
MOST_UPLOADED = 200_000_000
"""Bytes of all pictures that are arriving or waiting together; what goes beyond is told to come back."""
LONGEST_UPLOAD_S = 20.0
"""A picture that takes longer to arrive is given up."""
LONGEST_WAIT_S = 30.0
"""A request that waits longer for its turn is told to come back; a picture that takes longer than that is a fault."""


CROWDED = "too many requests at once; try again in a second"


@dataclass(frozen=True)
class Limits:
    """Of one picture its bytes and pixels; of requests how many wait for their turn at a time."""

    upload_bytes: int = 10_000_000
    pixels: int = 25_000_000
    waiting: int = 32


class RefusedError(Exception):
    """A request that is not served: the HTTP status and one line for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Service:
    """A model that answers one picture at a time, in a thread of its own; the others wait, a bounded number of them."""

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self.predictor, self.limits = predictor, limits
        self._thread = ThreadPoolExecutor(1, "answers")
        self._waiting = self._uploaded = 0
        self._begun_s: float | None = None

    async def answer(self, request: Any) -> PictureAnswer:
        """What the model says of the picture in a request's body.

        Raises:
            RefusedError: the body is too large, no picture, or there are too many requests.

        """
        data = bytearray()
        try:
            await asyncio.wait_for(self._receive(request, data), LONGEST_UPLOAD_S)
            return await asyncio.wait_for(self._in_turn(data), LONGEST_WAIT_S)
        except TimeoutError:
            raise RefusedError(503, "it took too long; try again in a moment, or a smaller picture") from None
        finally:
            self._uploaded -= len(data)

    @property
    def is_stuck(self) -> bool:
        """Whether the picture under way has taken longer than any should."""
        begun_s = self._begun_s
        return begun_s is not None and time.monotonic() - begun_s > LONGEST_WAIT_S

    async def _receive(self, request: Any, data: bytearray) -> None:
        """Read the body of a request into ``data``, no further than is allowed for it and for all together."""
        async for part in _body(request, self.limits.upload_bytes):
            if self._uploaded + len(part) > MOST_UPLOADED:
                raise RefusedError(503, CROWDED)
            data += part
            self._uploaded += len(part)

    async def _in_turn(self, data: bytearray) -> PictureAnswer:
        """The answer once those before it are given; only a picture that is there waits for its turn."""
        if self._waiting >= self.limits.waiting:
            raise RefusedError(503, CROWDED)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, data)
        finally:
            self._waiting -= 1

    def facts(self) -> dict[str, Any]:
        """What the page and the health endpoint say of the model."""
        said = self.predictor.description
        keys = ("name", "run_id", "taxonomy", "protocol", "licence", "abstain_below")
        return {"classes": list(said.classes), **{key: getattr(said, key) for key in keys}}

    def _answer(self, data: bytearray) -> PictureAnswer:
        self._begun_s = time.monotonic()
        try:
            return self._answer_now(bytes(data))
        finally:
            self._begun_s = None

    def _answer_now(self, data: bytes) -> PictureAnswer:
        width, height = size_of(data)
        if width * height > self.limits.pixels:
            raise RefusedError(
                413, f"picture of {width}x{height} pixels; at most {self.limits.pixels:,} pixels are taken"
            )
        return self.predictor.bytes(data)


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height that an image file's header names, before anything is decompressed.

    Raises:
        RefusedError: it is no JPEG, PNG, BMP or TIFF, whatever its name or type say.

    """
    if not data.startswith(tuple(MAGICS)):
        raise RefusedError(415, "not a JPEG, PNG, BMP or TIFF picture")
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; ours are refused
            return Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "BMP", "TIFF")).size
    except Image.DecompressionBombError as error:
        raise RefusedError(413, "picture of far too many pixels") from error
    except HEADER_ERRORS as error:
        raise RefusedError(415, "not a readable picture") from error


async def _body(request: Any, most: int) -> AsyncIterator[bytes]:
    """The body of a request in parts, read no further than ``most`` bytes."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in IMAGE_TYPES:
        raise RefusedError(415, f"send the picture itself as {', '.join(IMAGE_TYPES)}")
    message = f"the picture is larger than {most / 1e6:g} MB"
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise RefusedError(413, message)
    count = 0
    async for part in request.stream():
        count += len(part)
        if count > most:
            raise RefusedError(413, message)
        yield part
    if not count:
        raise RefusedError(400, "there is no picture in the request")


def application(service: Service, hosts: Sequence[str]) -> Any:
    """The page at ``/``, ``POST /predict`` with an image as the body, ``GET /health``; an ASGI application.

    ``hosts``: the names that it may be asked for by, which keeps other sites' names for this machine out.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import ClientDisconnect
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    page = _page(service)

    async def show(_: Any) -> Response:
        nonce = secrets.token_urlsafe(16)
        return HTMLResponse(page.replace(NONCE, nonce), headers=_headers(nonce))

    async def predict(request: Any) -> Response:
        said = service.predictor.description
        try:
            answer = await service.answer(request)
        except RefusedError as refusal:
            headers = _headers() | {"Connection": "close"} | ({"Retry-After": "1"} if refusal.status == 503 else {})
            return JSONResponse({"problem": refusal.message}, refusal.status, headers)
        except ClientDisconnect:
            return Response(status_code=400)
        found = answer.as_json(said.classes, said.abstain_below)
        found.pop("source")
        return JSONResponse(found, headers=_headers())

    async def health(_: Any) -> Response:
        status, code = ("stuck", 503) if service.is_stuck else ("ok", 200)
        return JSONResponse({"status": status, "model": service.facts()}, code, _headers())

    async def fail(*_: Any) -> Response:
        return JSONResponse({"problem": "a fault of this program; it has been logged"}, 500, _headers())

    routes = [
        Route("/", show),
        Route("/predict", predict, methods=["POST"]),
        Route("/health", health),
    ]
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return Starlette(routes=routes, middleware=[trusted], exception_handlers={Exception: fail})


def serve(service: Service, host: str, port: int, hosts: Sequence[str], on_ready: Callable[[int], None]) -> None:
    """Answer until interrupted; ``on_ready`` is told the port (0 takes a free one) once requests are accepted.

    Raises:
        UserError: the port is taken, or the address is not this machine's.

    """
    import uvicorn

    with _listening(host, port) as listener:
        on_ready(listener.getsockname()[1])
        uvicorn.Server(configured(service, hosts)).run(sockets=[listener])


def configured(service: Service, hosts: Sequence[str]) -> Any:
    """The settings of the server: connections bounded in number and time, faults on the standard error."""
    import uvicorn

    from ferlab.inference.connections import PunctualProtocol

    return uvicorn.Config(
        application(service, hosts),
        http=PunctualProtocol,
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=3,
    )


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    every = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=1024, dualstack_ipv6=every)
    except OSError as error:
        reason = error.strerror or error
        message = f"host={host} port={port}: cannot be listened on ({reason}). Choose another port, or end what has it."
        raise UserError(message) from error


def _page(service: Service) -> str:
    text = PAGE.read_text(encoding="utf-8")
    facts = json.dumps(service.facts() | {"limit_mb": service.limits.upload_bytes / 1e6})
    # a script ends at </script> wherever it stands
    return text.replace("FACTS", facts.replace("<", "\\u003c")).replace("SUFFIXES", ",".join(IMAGE_SUFFIXES))


def _headers(nonce: str = "") -> dict[str, str]:
    own = f"'nonce-{nonce}'" if nonce else "'none'"
    policy = (
        f"default-src 'none'; script-src {own}; style-src {own}; connect-src 'self'; img-src blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    }
